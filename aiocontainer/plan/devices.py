"""Device rules: which nodes a container may read, write and make."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["DeviceRule"]


class DeviceRule(Struct, frozen=True):
    """One rule; `type` is "a", "b" or "c", None stands for every number."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"

    @property
    def text(self) -> str:
        """The line for cgroup v1's ``devices.allow`` or ``devices.deny``."""
        if self.type == "a":
            return "a"
        major = "*" if self.major is None else self.major
        minor = "*" if self.minor is None else self.minor
        return f"{self.type} {major}:{minor} {self.access}"

    def __str__(self) -> str:
        return f"{'allow' if self.allow else 'deny'} {self.text}"
