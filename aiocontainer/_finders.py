"""Finding modules for the installed command, which starts without `site`.

importlib asks each directory for each kind of module, lists it, and takes apart what it reads in a dozen
steps, which is a third of what most modules cost.  Nearly all modules of a command are in one of two
places, and compiled: `Compiled` looks there.  It never compiles, and whatever is not as it should be is
left to importlib, so that its rules hold.
"""

from __future__ import annotations

import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader
from _imp import _fix_co_filename  # type: ignore[attr-defined]
from marshal import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

__all__ = ["Compiled", "Site", "install"]

_FLAGS = bytes(4)  # PEP 552: valid for one time and size of the source
_TAG = sys.implementation.cache_tag


def install() -> None:
    """Find the modules of this process so from now on."""
    if not sys.flags.optimize and sys.pycache_prefix is None:
        sys.meta_path.insert(2, Compiled())  # behind what is built in or frozen
    sys.meta_path.append(Site())


class Site:
    """Asked for what is nowhere else: loads `site`, as an interpreter without -S does first of all."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, *_: object) -> ModuleSpec | None:
        """Look once more, where `site` says."""
        if path is not None or name in sys.stdlib_module_names:
            return None
        sys.meta_path.remove(self)
        import site
        from importlib.machinery import PathFinder

        site.main()
        return PathFinder.find_spec(name)


class Compiled:
    """Finds modules of this package and of Python's library, neither of which has one name twice."""

    def __init__(self) -> None:
        library = os.path.dirname(os.__file__)
        self._places: dict[str, str | None] = dict.fromkeys(sys.stdlib_module_names, library)
        self._places["aiocontainer"] = None  # loaded, or we would not be here

    def find_spec(self, name: str, path: Sequence[str] | None = None, *_: object) -> ModuleSpec | None:
        """Find it where its compiled form is valid; None leaves it to the next finder."""
        parts = name.split(".")
        if parts[0] not in self._places:
            return None
        place = self._places[name] if path is None else path[0]
        last = parts[-1]
        try:
            return _find(name, f"{place}/{last}", last) or _find(name, f"{place}/{last}/__init__", "__init__")
        except (OSError, ValueError, EOFError, TypeError):
            return None


def _find(name: str, base: str, last: str) -> ModuleSpec | None:
    """Find a module by the path of its source, less ".py"; None where there is no such source."""
    source = f"{base}.py"
    try:
        found = os.stat(source)
    except FileNotFoundError:
        return None
    directory = os.path.dirname(source)
    cached = f"{directory}/__pycache__/{last}.{_TAG}.pyc"
    data = _read(cached)
    times = int(found.st_mtime).to_bytes(4, "little") + found.st_size.to_bytes(4, "little")
    if data[:16] != MAGIC_NUMBER + _FLAGS + times:
        raise ValueError(f"{cached} is of another source or Python")
    code = loads(memoryview(data)[16:])
    _fix_co_filename(code, source)
    spec = ModuleSpec(name, _Loader(name, source, code), origin=source)
    if last == "__init__":
        spec.submodule_search_locations = [directory]
    spec.has_location = True
    spec.cached = cached
    return spec


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, os.fstat(fd).st_size)
    finally:
        os.close(fd)


class _Loader(SourceFileLoader):
    """Has the code already."""

    def __init__(self, name: str, path: str, code: CodeType) -> None:
        super().__init__(name, path)
        self._code: CodeType | None = code

    def get_code(self, fullname: str) -> CodeType | None:
        """Give the code once; whoever wants it again has it read again."""
        code, self._code = self._code, None
        return super().get_code(fullname) if code is None else code
