"""What a specification can ask for and this version cannot give: refused by name, never ignored.

One line per field; empty members ask for nothing and are fine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..errors import UnsupportedError

if TYPE_CHECKING:
    from ..spec import Spec

__all__ = ["refuse_unsupported"]

_LIMITS: Final = "limits of resources"

# Attribute, its name in the document, what is missing.
_RESOURCE_FIELDS: Final = (
    ("memory", "memory"),
    ("cpu", "cpu"),
    ("pids", "pids"),
    ("block_io", "blockIO"),
    ("hugepage_limits", "hugepageLimits"),
    ("network", "network"),
    ("rdma", "rdma"),
    ("unified", "unified"),
)


def _asks(value: Any) -> bool:
    """Whether a member says anything: an object without members does not."""
    if value is None or value == "" or value == () or value == {}:
        return False
    fields = getattr(value, "__struct_fields__", None)
    return True if fields is None else any(_asks(getattr(value, field)) for field in fields)


def _refuse(owner: object, attribute: str, origin: str, needs: str) -> None:
    if _asks(getattr(owner, attribute)):
        raise UnsupportedError(
            origin.rpartition(".")[2], needs=f"{needs}, not implemented yet", origin=origin
        )


def refuse_unsupported(spec: Spec) -> None:
    """Raise UnsupportedError for the first field that would otherwise be ignored."""
    if spec.linux is not None and spec.linux.resources is not None:
        for attribute, name in _RESOURCE_FIELDS:
            _refuse(spec.linux.resources, attribute, f"$.linux.resources.{name}", _LIMITS)
