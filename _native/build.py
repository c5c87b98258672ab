"""Build the static helper and the cffi library.

``setup.py`` uses this for wheels; ``python _native/build.py --inplace`` builds both into the source
tree for development.  The digest of the helper is compiled into the library, so the two only work
as the pair that was built together.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
ROOT = HERE.parent
MODULE = "aiocontainer.native._lib"
HELPER = Path("aiocontainer/native/aiocontainer-helper")
LAUNCHER = HERE / "launch" / "launcher.c"
LIBRARY = Path("aiocontainer/native/_lib.abi3.so")  # cffi keeps to the limited API
DIGEST_HEADER = "helper_digest.h"

# Read by the compiler and by cffi alike: the one description of each constant and struct.
SHARED_HEADERS = ("wire.h", "calls.h", "lib.h")
LIBRARY_SOURCES = (
    "lib.c",
    "lib_spawn.c",
    "lib_mount.c",
    "lib_network.c",
    "lib_idmap.c",
    "lib_bpf.c",
    "lib_probe.c",
    "lib_program.c",
    "lib_worker.c",
    "lib_seccomp.c",
    "decode.c",
)

STANDARD = ["-std=gnu11", "-D_GNU_SOURCE"]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wformat=2", "-Wvla"]
HARDENING = [
    "-O2",
    "-fstack-protector-strong",
    "-U_FORTIFY_SOURCE",
    "-D_FORTIFY_SOURCE=3",
    "-fstack-clash-protection",
    "-ftrivial-auto-var-init=zero",
]
PER_MACHINE = {"x86_64": ["-fcf-protection"], "aarch64": ["-mbranch-protection=standard"]}
# Without a C library, and without calls that a compiler makes of loops and variables.
ALONE = [
    "-nostdlib",
    "-ffreestanding",
    "-fno-stack-protector",
    "-ftrivial-auto-var-init=uninitialized",
    "-fno-tree-loop-distribute-patterns",
]
LINKING = ["-static-pie", "-Wl,-z,relro,-z,now,-z,noexecstack", "-s"]


def compiler() -> list[str]:
    """Return the C compiler: ``$CC``, or cc."""
    return shlex.split(os.environ.get("CC", "cc"))


def is_accepted(flag: str) -> bool:
    """Whether the compiler takes *flag*; some of the hardening is newer than some compilers."""
    command = [*compiler(), "-Werror", flag, "-x", "c", "-c", "-", "-o", os.devnull]
    return subprocess.run(command, input=b"int x;", capture_output=True, check=False).returncode == 0


def compile_flags(*, strict: bool) -> list[str]:
    """Return flags for the helper; *strict* makes warnings errors, for development."""
    hardening = [*HARDENING, *PER_MACHINE.get(platform.machine(), [])]
    errors = ["-Werror"] if strict else []
    return [*STANDARD, *WARNINGS, *errors, *filter(is_accepted, hardening)]


def helper_sources() -> list[str]:
    """List what the helper is made of: every C file that is not the library's own."""
    return sorted(str(path) for path in HERE.glob("*.c") if not path.name.startswith("lib"))


def build_helper(target: Path, *, strict: bool = False, extra: list[str] | None = None) -> None:
    """Compile and link the static helper to *target*."""
    target.parent.mkdir(parents=True, exist_ok=True)
    flags = [*compile_flags(strict=strict), "-fPIE", *(extra or [])]
    subprocess.run([*compiler(), *flags, *helper_sources(), *LINKING, "-o", str(target)], check=True)
    target.chmod(0o755)


def build_launcher(target: Path, *, strict: bool = False) -> None:
    """Compile and link the command itself to *target*; static, because it only starts another program.

    Where it knows the machine it has no C library, which would have to set up what protects the stack.
    """
    alone = filter(is_accepted, ALONE) if platform.machine() in PER_MACHINE else ()
    flags = [*compile_flags(strict=strict), "-fPIE", *alone]
    subprocess.run([*compiler(), *flags, str(LAUNCHER), *LINKING, "-o", str(target)], check=True)
    target.chmod(0o755)


def write_digest(helper: Path, directory: Path) -> None:
    """Leave the digest of *helper* in *directory* as a header for lib.c."""
    directory.mkdir(parents=True, exist_ok=True)
    digest = hashlib.blake2b(helper.read_bytes(), digest_size=32).hexdigest()
    (directory / DIGEST_HEADER).write_text(f'#define HELPER_DIGEST "{digest}"\n')


def ffi_builder(native: str = "_native") -> FFI:
    """Describe the library; *native* is this directory as seen from where it is compiled.

    The digest header must be on the include path by then.
    """
    ffi = FFI()
    texts = {name: (HERE / name).read_text() for name in SHARED_HEADERS}
    ffi.cdef("\n".join(texts.values()))
    ffi.set_source(
        MODULE,
        "#include <stddef.h>\n#include <stdint.h>\n"
        + "".join(f'#include "{name}"\n' for name in SHARED_HEADERS),
        sources=[f"{native}/{name}" for name in LIBRARY_SOURCES],
        include_dirs=[native],
        depends=[f"{native}/{path.name}" for path in sorted(HERE.glob("*.h"))],
        extra_compile_args=[*STANDARD, "-O2", "-include", DIGEST_HEADER],
    )
    return ffi


def replace(new: Path, old: Path) -> None:
    """Put *new* in the place of *old* at once: others may be running it."""
    beside = old.with_name(f".{old.name}.new")
    shutil.copy(new, beside)
    beside.replace(old)


def build_in_place() -> None:
    """Build both into the source tree."""
    with tempfile.TemporaryDirectory() as scratch:
        helper = Path(scratch, HELPER.name)
        build_helper(helper, strict=True)
        write_digest(helper, Path(scratch))
        os.environ["CFLAGS"] = f"{os.environ.get('CFLAGS', '')} -I{scratch}"
        library = ffi_builder(str(HERE)).compile(tmpdir=scratch)
        replace(helper, ROOT / HELPER)
        replace(Path(library), ROOT / LIBRARY)


def main() -> None:
    """Parse the one option there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inplace", action="store_true", required=True, help="build into the source tree")
    parser.parse_args()
    build_in_place()


if __name__ == "__main__":
    sys.exit(main())
