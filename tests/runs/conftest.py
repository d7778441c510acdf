"""Fixtures of another folder, used here too."""

from ..training.conftest import make_run  # noqa: TID252

__all__ = ["make_run"]
