"""Fixtures of another folder, used here too."""

from ..models.conftest import arch, blocks_of_an_accelerator  # noqa: TID252

__all__ = ["arch", "blocks_of_an_accelerator"]
