"""What stands in for the compiled data plane where there is none: the reason."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from natscore.entropy import Xorshift64

__all__ = ["CompiledDataPlane", "reason"]

_EXTENSION: Final = "natscore_accel._dataplane"


class CompiledDataPlane:
    """Raises ImportError when it is made: the extension is not there."""

    def __init__(self, choices: Xorshift64) -> None:
        raise ImportError("there is no compiled data plane; natscore_accel.why_not says why", name=_EXTENSION)


def reason(error: Exception) -> str:
    """Why the extension could not be imported, as part of a sentence."""
    if isinstance(error, ModuleNotFoundError) and error.name == _EXTENSION:
        python = f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"
        return f"it was not compiled for {python}"
    return f"its extension cannot be loaded: {type(error).__name__}: {error}"
