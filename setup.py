"""What pyproject.toml cannot say: the helper is built first, because the library carries its digest."""

from __future__ import annotations

import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext

from distutils.command.build_scripts import build_scripts  # isort: skip  # of setuptools, once that is imported

sys.path.insert(0, str(Path(__file__).parent / "_native"))

import build as native


class BuildNative(build_ext):
    """Build the static helper beside the library."""

    def run(self) -> None:
        """Build both, always: the library has the digest of this very helper."""
        self.force = True
        scratch = Path(self.build_temp)
        native.build_helper(self.helper())
        native.write_digest(self.helper(), scratch)
        self.include_dirs.append(str(scratch))
        super().run()

    def get_outputs(self) -> list[str]:
        """Name the helper too."""
        return [*super().get_outputs(), str(self.helper())]

    def helper(self) -> Path:
        """Return where the helper goes: to the library, in the source tree or in the wheel."""
        return Path(self.get_ext_fullpath(native.MODULE)).with_name(native.HELPER.name)


class BuildCommand(build_scripts):
    """Build the command beside the script that it starts."""

    def run(self) -> None:
        """Do both."""
        super().run()
        native.build_launcher(Path(self.build_dir, "aiocontainer"))


setup(
    cffi_modules=["_native/build.py:ffi_builder"],
    cmdclass={"build_ext": BuildNative, "build_scripts": BuildCommand},
    scripts=["_native/launch/aiocontainer-start"],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
