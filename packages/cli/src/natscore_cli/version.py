"""What `--version` says, without importing anything of the server.

The version of this package is kept here so that nobody need search for its
metadata, and which data plane a server would take is told from what is installed.
"""

from __future__ import annotations

import os
from typing import Final

__all__ = ["VERSION", "data_plane_text"]

VERSION: Final = "0.1.0"


def data_plane_text() -> str:
    """Which data plane a server would run on, as `natscore_tcp.choose_executor` chooses.

    An extension that is there and cannot be loaded is found out only when a
    server starts, and said then.
    """
    from importlib.machinery import EXTENSION_SUFFIXES
    from importlib.util import find_spec

    if os.environ.get("NATSCORE_PURE", "") in ("", "0"):
        package = find_spec("natscore_accel")
        folders = (package.submodule_search_locations if package is not None else None) or ()
        for folder in folders:
            for suffix in EXTENSION_SUFFIXES:
                if os.path.exists(os.path.join(folder, f"_dataplane{suffix}")):
                    return "compiled"
    return "pure Python"
