"""The drawing of the architecture, from a table of boxes and one of arrows.

Every word stands on a light ground of its own, and lines have a colour between the two: so it can be read on a
white page and on a black one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["drawing"]

WIDTH, HEIGHT = 210, 64
PITCH_X, PITCH_Y = 288, 122
MARGIN = 12
TEXT, LINE = "#111827", "#7c8699"
# Ground and border.
COLOURS = {
    "document": ("#fff4d6", "#b08900"),
    "python": ("#dbeafe", "#2563eb"),
    "c": ("#dcfce7", "#15803d"),
    "kernel": ("#fde2e4", "#be123c"),
}


class Box(NamedTuple):
    """A room, a document, or a process."""

    column: float
    row: float
    kind: str
    title: str
    text: str
    columns: int = 1

    @property
    def x(self) -> float:
        return MARGIN + self.column * PITCH_X

    @property
    def y(self) -> float:
        return MARGIN + self.row * PITCH_Y

    @property
    def width(self) -> float:
        return WIDTH + (self.columns - 1) * PITCH_X

    def side(self, name: str, shift: float = 0) -> tuple[float, float]:
        """Return the middle of a side, or what is *shift* beside it."""
        return {
            "left": (self.x, self.y + HEIGHT / 2 + shift),
            "right": (self.x + self.width, self.y + HEIGHT / 2 + shift),
            "top": (self.x + self.width / 2 + shift, self.y),
            "bottom": (self.x + self.width / 2 + shift, self.y + HEIGHT),
        }[name]


BOXES = {
    "source": Box(0, 0, "document", "config.json", "bundle, Spec, Command, image"),
    "spec": Box(1, 0, "python", "spec/", "decodes strictly, once"),
    "plan": Box(2, 0, "python", "plan/", "decides: pure, no privilege"),
    "native": Box(3, 0, "python", "native/", "plan as bytes, in a sealed memfd"),
    "application": Box(0, 1, "python", "application", "tasks on one event loop"),
    "probe": Box(1, 1, "python", "probe.py", "this machine, as a value"),
    "spawner": Box(3, 1, "c", "spawner", "resident; reads no plan"),
    "events": Box(0, 2, "python", "events/", "ends, kills, pressure: streams"),
    "store": Box(1, 2, "document", "state directory", "record, state, gate"),
    "container": Box(2, 2, "python", "runtime.py, container/", "lifecycle and dialogue"),
    "child": Box(3, 2, "c", "first process", "checks all of its plan, then acts"),
    "kernel": Box(0, 3, "kernel", "kernel", "namespaces · mounts · cgroups · pidfds · filters", columns=4),
}

# From, its side, to, its side, words, shift along the sides.
ARROWS = (
    ("application", "top", "source", "bottom", "create", 0),
    ("source", "right", "spec", "left", "bytes", 0),
    ("spec", "right", "plan", "left", "Spec", 0),
    ("probe", "right", "plan", "bottom", "Host", -50),
    ("plan", "right", "native", "left", "Plan", 0),
    ("plan", "bottom", "container", "top", "limits, hooks", 30),
    ("native", "bottom", "spawner", "top", "one message, all descriptors", 0),
    ("spawner", "bottom", "child", "top", "clone3", 0),
    ("container", "right", "child", "left", "go on", 16),
    ("child", "left", "container", "right", "paused", -16),
    ("container", "left", "store", "right", "writes", 0),
    ("container", "bottom", "kernel", "top", "cgroups/, network/", 0),
    ("child", "bottom", "kernel", "top", "mounts, ids, execve", 0),
    ("kernel", "top", "events", "bottom", "pidfd, inotify, PSI", 0),
    ("events", "top", "application", "bottom", "async for", 0),
)


def drawing() -> str:
    """Return the drawing as SVG."""
    width = 2 * MARGIN + 3 * PITCH_X + WIDTH
    height = 2 * MARGIN + 3 * PITCH_Y + HEIGHT
    lines = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        ' font-family="system-ui, sans-serif" text-anchor="middle">',
        "<title>From config.json to a running container</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8"'
        f' orient="auto"><path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>',
        *(line for box in BOXES.values() for line in _box(box)),
        *(line for arrow in ARROWS for line in _arrow(*arrow)),
        "</svg>",
    )
    return "\n".join(lines) + "\n"


def _box(box: Box) -> Iterator[str]:
    ground, border = COLOURS[box.kind]
    middle = box.x + box.width / 2
    yield (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{box.width:g}" height="{HEIGHT}" rx="8"'
        f' fill="{ground}" stroke="{border}" stroke-width="1.5"/>'
    )
    yield _text(middle, box.y + 27, 15, box.title, bold=True)
    yield _text(middle, box.y + 47, 12, box.text)


def _arrow(start: str, from_: str, end: str, to: str, words: str, shift: float) -> Iterator[str]:
    bent = from_ in ("left", "right") and to in ("top", "bottom")  # at a right angle
    (x1, y1), (x2, y2) = BOXES[start].side(from_, 0 if bent else shift), BOXES[end].side(to, shift)
    if from_ in ("top", "bottom") and BOXES[start].columns > 1:  # straight up from a wide box
        x1 = x2
    if to in ("top", "bottom") and BOXES[end].columns > 1:
        x2 = x1
    middle = (x2, (y1 + y2) / 2) if bent else ((x1 + x2) / 2, (y1 + y2) / 2)
    yield (
        f'<path d="M{x1:g} {y1:g}{f"L{x2:g} {y1:g}" if bent else ""}L{x2:g} {y2:g}" fill="none"'
        f' stroke="{LINE}" stroke-width="2" marker-end="url(#head)"/>'
    )
    x, y = middle
    wide = 6.2 * len(words) + 10
    yield f'<rect x="{x - wide / 2:g}" y="{y - 9:g}" width="{wide:g}" height="18" rx="9" fill="#f3f4f6"/>'
    yield _text(x, y + 4, 11, words)


def _text(x: float, y: float, size: int, words: str, *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}"{weight} fill="{TEXT}">{escape(words)}</text>'
