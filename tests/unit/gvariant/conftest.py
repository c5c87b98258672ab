"""GLib as the reference."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from support.needs import SYSTEM_PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

REFERENCE = r"""
import json, struct, sys
from gi.repository import GLib

def tree(value):
    kind = value.get_type_string()
    if kind[0] in "am({v":
        children = [tree(value.get_child_value(i)) for i in range(value.n_children())]
        return [kind, children]
    if kind == "d":
        return [kind, struct.pack(">d", value.get_double()).hex()]
    return [kind, value.unpack()]

for line in sys.stdin:
    text, kind = json.loads(line)
    try:
        value = GLib.Variant.parse(GLib.VariantType.new(kind) if kind else None, text, None, None)
        answer = [tree(value), value.print_(True)]
    except GLib.Error as exc:
        answer = [None, exc.message]
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="session")
def glib() -> Iterator[Callable[..., tuple[Any, str]]]:
    """Read a text as GLib does: the value as a tree (None if it cannot), and GLib's own text of it."""
    with subprocess.Popen(
        [SYSTEM_PYTHON, "-c", REFERENCE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reference:
        assert reference.stdin is not None
        assert reference.stdout is not None

        def ask(text: str, kind: str = "") -> tuple[Any, str]:
            print(json.dumps([text, kind]), file=reference.stdin, flush=True)
            value, words = json.loads(reference.stdout.readline())
            return value, words

        yield ask
        reference.stdin.close()
