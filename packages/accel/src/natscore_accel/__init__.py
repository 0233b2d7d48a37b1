"""natscore_accel: the compiled data plane of natscore.

`CompiledDataPlane` is a `natscore.dataplane.DataPlane`, for the argument
`data_plane` of `natscore.Server`. The package also installs where nothing can be
compiled: `available` is false then, `why_not` says what is missing, and making a
CompiledDataPlane raises ImportError.
"""

from __future__ import annotations

from typing import Final

from natscore_accel.version import VERSION

__all__ = ["VERSION", "CompiledDataPlane", "available", "why_not"]

_why_not = ""
try:
    from natscore_accel._dataplane import CompiledDataPlane
except Exception as error:  # a broken extension, too, must not keep a server from running in pure Python
    from natscore_accel.missing import CompiledDataPlane, reason  # type: ignore[assignment]  # stands in

    _why_not = reason(error)

available: Final = not _why_not
"""Whether there is a compiled data plane in this interpreter."""

why_not: Final = _why_not
"""What keeps it from being there, as part of a sentence; empty when it is there."""
