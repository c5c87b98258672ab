"""Unpacking in a process of its own: it can be killed at any point, and takes nothing from the loop.

``python -c`` runs `main` with the request on standard input, a JSON document; standard output gets the
answer, another.  Its priority is low.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from typing import Final

import msgspec
from msgspec import Struct

from ..errors import ContainerError, ImageError, UnsupportedError
from .cache import Cache, Record, names_of, rights_of_ours
from .choose import Layer  # noqa: TC001 - msgspec reads the annotations
from .files import Files, open_files
from .layers import unpack_layer
from .limits import Limits  # noqa: TC001

__all__ = ["Answer", "Request", "main", "unpack_missing"]

_NICE: Final = 10
_CHUNK: Final = 1 << 20


class Request(Struct, frozen=True):
    """Which layers of which image are to be in which cache."""

    image: str
    cache: str
    layers: tuple[Layer, ...]
    limits: Limits


class Answer(Struct, frozen=True):
    """How it went; `error` names the class of an exception, and is "" for success."""

    error: str = ""
    problem: str = ""
    path: str = ""
    digest: str = ""
    entry: str = ""
    feature: str = ""
    needs: str = ""

    def check(self) -> None:
        """Raise what the worker raised."""
        if self.error == "UnsupportedError":
            raise UnsupportedError(self.feature, needs=self.needs, origin=self.path)
        if self.error:
            raise ImageError(self.problem, path=self.path, digest=self.digest, entry=self.entry)


def main() -> None:
    """Do what standard input says."""
    os.nice(_NICE)
    parts = []
    while data := os.read(0, _CHUNK):
        parts.append(data)
    request = msgspec.json.decode(b"".join(parts), type=Request)
    try:
        unpack_missing(request)
        answer = Answer()
    except UnsupportedError as exc:
        answer = Answer("UnsupportedError", path=request.image, feature=exc.feature, needs=exc.needs)
    except ImageError as exc:
        answer = Answer("ImageError", exc.problem, exc.path, exc.digest, exc.entry)
    except (ContainerError, OSError) as exc:
        answer = Answer("ImageError", str(exc), request.image)
    os.write(1, msgspec.json.encode(answer))
    sys.stdout.flush()


def unpack_missing(request: Request) -> None:
    """Unpack what is not there, the lowest first; a layer that another process is at is waited for."""
    names = names_of([layer.diff_id for layer in request.layers])
    with Cache(request.cache) as cache, open_files(request.image, request.limits) as files:
        for index, layer in enumerate(request.layers):
            if cache.find(names[index]) is None:
                with cache.making(names[index][0]):
                    _unpack(request, cache, files, layer, names[: index + 1])


def _unpack(request: Request, cache: Cache, files: Files, layer: Layer, names: list[tuple[str, str]]) -> None:
    if cache.find(names[-1]) is not None:  # another process was faster
        return
    with cache.filling() as filling, ExitStack() as stack:
        below = [found[0] for pair in reversed(names[:-1]) if (found := cache.find(pair)) is not None]
        lowers = [stack.enter_context(cache.open_layer(name)).fileno() for name in below]
        done = unpack_layer(files, layer, filling.fd.fileno(), rights_of_ours(), request.limits, lowers)
        own, chained = names[-1]
        filling.commit(chained if done.implied and below else own, Record(layer.diff_id, done))
