"""The version of this package, kept here so that `--version` need not search for its metadata."""

from __future__ import annotations

from typing import Final

__all__ = ["VERSION"]

VERSION: Final = "0.1.0"
