"""The version of this package, and how the product names itself."""

from __future__ import annotations

from typing import Final

__all__ = ["PRODUCT", "VERSION"]

VERSION: Final = "0.1.0"
PRODUCT: Final = f"natscore/{VERSION}"
