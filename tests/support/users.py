"""Texts that name no user by number."""

__all__ = ["NO_USERS"]

NO_USERS = (
    *("", ":", "1:", ":2", "1:2:3", "1:-1", "-1", "+1", "0x1", " 1", "1 ", "1\n", "1_0", "1.0", "1e3", "01"),
    *("00", "root", "user", "nobody:1", "4294967295", "4294967296", "1:4294967295", "18446744073709551616"),
    *("1" * 5000, "\u0661", "\u0661:\u0662", "1:\u0661", "\uff11", "\u00b2", "1\0"),
)
"""Empty, signed, with blanks, other digits or other systems of numbers; too large for an id; names."""
