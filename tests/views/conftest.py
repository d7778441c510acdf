"""Fixtures of another folder, used here too."""

from ..solving.conftest import domain  # noqa: TID252

__all__ = ["domain"]
