"""Compiles the extension, or says why not: without it the package still installs, and the server runs pure.

Three variables of the environment change that:

    NATSCORE_ACCEL_REQUIRED=1   a failure to compile is an error: for whoever makes wheels
    NATSCORE_ACCEL_CFLAGS       flags in place of -O3, for a sanitizer or a debugger
    NATSCORE_ACCEL_LDFLAGS      flags for the linker

Cython's directives stand at the top of the .pyx files, beside the code that counts on them.
"""

from __future__ import annotations

import os
import shutil
import sys
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCE = Path("src", "natscore_accel")
REQUIRED = os.environ.get("NATSCORE_ACCEL_REQUIRED", "") not in ("", "0")
COMPILER_FLAGS = os.environ.get("NATSCORE_ACCEL_CFLAGS")
LINKER_FLAGS = os.environ.get("NATSCORE_ACCEL_LDFLAGS", "")


def depends() -> list[str]:
    """Whatever the extension is made of: a change of any of them makes it stale."""
    return [
        "setup.py",
        *sorted(file for end in ("pyx", "pxd", "pxi", "h") for file in glob(f"{SOURCE}/*.{end}")),
    ]


class BuildOrWarn(build_ext):
    """Compiles; where that cannot be, leaves the extension out."""

    def initialize_options(self) -> None:
        """Keep generated C out of the source, and out of archives of it."""
        super().initialize_options()
        self.cython_c_in_temp = True

    def build_extension(self, extension: Extension) -> None:
        """Compile one extension, unless an editable install finds it in its place already."""
        in_place = SOURCE / Path(self.get_ext_filename(extension.name)).name
        target = Path(self.get_ext_fullpath(extension.name))
        if self.editable_mode and COMPILER_FLAGS is None and is_newer(in_place, depends()):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(in_place, target)
            return
        if self.editable_mode:
            in_place.unlink(missing_ok=True)
        target.unlink(missing_ok=True)  # what is stale must not be taken for the result of a failure
        self.force = True  # other flags or another Cython make it stale as well
        if COMPILER_FLAGS is not None:
            extension.extra_compile_args = COMPILER_FLAGS.split()
        elif self.compiler.compiler_type == "msvc":
            extension.extra_compile_args = ["/O2"]
        else:
            extension.extra_compile_args = ["-O3"]
        extension.extra_link_args = LINKER_FLAGS.split()
        try:
            super().build_extension(extension)
        except Exception as error:
            if REQUIRED:
                raise
            self.leave_out(error)

    def leave_out(self, error: Exception) -> None:
        """Go on without extension: what is installed is pure Python, and the wheel says so in its name."""
        self.warn(
            f"natscore-accel is installed without its compiled data plane: {error}. "
            "It needs a C compiler and the headers of Python; servers run in pure Python until then."
        )
        self.extensions = []
        self.distribution.ext_modules = None
        self.get_finalized_command("bdist_wheel").root_is_pure = True


def is_newer(product: Path, sources: list[str]) -> bool:
    """Whether the product exists and is newer than all it is made of."""
    return product.exists() and product.stat().st_mtime > max(Path(file).stat().st_mtime for file in sources)


def extensions() -> list[Extension]:
    """One extension on CPython; none elsewhere, where it would be slower than pure Python."""
    if sys.implementation.name != "cpython":
        return []
    return [Extension("natscore_accel._dataplane", [f"{SOURCE}/_dataplane.pyx"], depends=depends())]


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildOrWarn})
