"""A filter of system calls as a value: its normal form, and what it answers.

Numbers are the kernel's: an action is a SECCOMP_RET_* with its data.  seccomp(2)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from .flags import (
    SECCOMP_RET_ACTION,
    SECCOMP_RET_ALLOW,
    SECCOMP_RET_LOG,
    SECCOMP_RET_NOTIFY,
    SECCOMP_RET_TRACE,
    seccomp_words,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Condition", "Filter", "Rule"]

NE, LT, LE, EQ, GE, GT, MASKED_EQ = range(1, 8)
"""SCMP_CMP_*, as libseccomp numbers them."""

_COMPARE: Final[Mapping[int, Callable[[int, Condition], bool]]] = {
    NE: lambda argument, condition: argument != condition.value,
    LT: lambda argument, condition: argument < condition.value,
    LE: lambda argument, condition: argument <= condition.value,
    EQ: lambda argument, condition: argument == condition.value,
    GE: lambda argument, condition: argument >= condition.value,
    GT: lambda argument, condition: argument > condition.value,
    MASKED_EQ: lambda argument, condition: (argument ^ condition.value_two) & condition.value == 0,
}


class Condition(Struct, frozen=True, array_like=True):
    """A condition on one argument, unsigned; MASKED_EQ has the mask in `value`, the datum in `value_two`."""

    index: int
    op: int
    value: int
    value_two: int = 0

    def holds(self, args: Sequence[int | None]) -> bool | None:
        """Whether it holds; None where the argument is not known."""
        argument = args[self.index] if self.index < len(args) else None
        return None if argument is None else _COMPARE[self.op](argument, self)


class Rule(Struct, frozen=True, array_like=True):
    """One action for one system call, when all conditions hold, which are about different arguments."""

    name: str
    action: int
    conditions: tuple[Condition, ...] = ()

    def matches(self, args: Sequence[int | None]) -> bool | None:
        """Whether it is about a call with these arguments; None where that depends on unknown ones."""
        found = {condition.holds(args) for condition in self.conditions}
        return False if False in found else None if None in found else True


class Filter(Struct, frozen=True, array_like=True):
    """A profile in normal form: equal filters do the same.

    No rule has the default action, none is there twice, and a system call with a rule without
    conditions has no other.
    """

    default: int
    architectures: tuple[str, ...]
    """As libseccomp calls them; the native one may be missing, and is meant all the same."""
    rules: tuple[Rule, ...]
    others: tuple[str, ...] = ()
    """Names that the profile mentions and that have no rule."""

    @property
    def notifies(self) -> bool:
        """Somebody is asked about some of the calls."""
        return any(rule.action == SECCOMP_RET_NOTIFY for rule in self.rules)

    @property
    def hides_newer_calls(self) -> bool:
        """Calls that the profile's author could not know look as on an older kernel; features.md S178."""
        passes = (SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_TRACE)
        return self.default & SECCOMP_RET_ACTION not in passes

    def actions(self, name: str, args: Sequence[int | None] = ()) -> set[int]:
        """Return what may happen to a call; None is an argument of any value.

        More than one where that depends on unknown ones, or where several rules match: which of these
        counts, the document does not say.
        """
        return self.outcomes([rule for rule in self.rules if rule.name == name], args)

    def outcomes(self, rules: Iterable[Rule], args: Sequence[int | None]) -> set[int]:
        """Return the same for a call that these are all *rules* of."""
        found = [(rule.action, rule.matches(args)) for rule in rules]
        possible = {action for action, matches in found if matches is not False}
        certain = any(matches for _, matches in found)
        return possible if certain else {*possible, self.default}

    def entangled(self, *, narrow: bool) -> dict[str, tuple[Rule, ...]]:
        """Return the rules that libseccomp cannot be trusted with, by system call.

        It weaves the rules of one call into one tree, and sometimes compares an argument with what was
        meant for another (2.5.4: ``a != 0 and b != 0 or a <= 0``), or one half of it with what was meant
        for the other (``a > 2**47 or b <= 2**46 or b < 64``).  Several rules for one argument, with values
        of 32 bits, it gets right.  On *narrow* architectures, with arguments of 32 bits, it takes no notice
        of the upper half of a value.
        """
        rules: dict[str, list[Rule]] = {}
        for rule in self.rules:
            if rule.conditions:
                rules.setdefault(rule.name, []).append(rule)
        return {name: tuple(own) for name, own in rules.items() if _is_entangled(own, narrow=narrow)}

    def __str__(self) -> str:
        count = len({rule.name for rule in self.rules})
        others = f", others for {count} calls" if count else ""
        return f"{seccomp_words(self.default)}{others}"


def _is_entangled(rules: Sequence[Rule], *, narrow: bool) -> bool:
    conditions = [condition for rule in rules for condition in rule.conditions]
    wide = any(max(each.value, each.value_two) >> 32 for each in conditions)
    if len(rules) == 1:
        return narrow and wide
    return wide or len(conditions) > len(rules) or len({each.index for each in conditions}) > 1
