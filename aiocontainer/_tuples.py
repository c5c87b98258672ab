"""`NamedTuple` without a look at the annotations.

That of `typing` compiles each annotation that is a text, and nobody asks for the result: three quarters of
what such a class costs, and commands make thirty of them.
"""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple
else:

    class _Meta(type):
        def __new__(cls, name, bases, namespace):
            if not bases:
                return super().__new__(cls, name, bases, namespace)
            fields = namespace["__annotations__"]
            defaults = [namespace.pop(field) for field in fields if field in namespace]
            module = namespace["__module__"]
            made = collections.namedtuple(name, fields, defaults=defaults, module=module)  # noqa: PYI024
            for key, value in namespace.items():
                if key not in _FROM_NAMEDTUPLE:
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Meta):
        """What `typing.NamedTuple` is, for annotations that are texts."""

    _FROM_NAMEDTUPLE = ("__module__", "__qualname__")

__all__ = ["NamedTuple"]
