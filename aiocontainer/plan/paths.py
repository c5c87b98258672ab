"""Paths as names: what can be said of one without looking."""

from __future__ import annotations

import posixpath

__all__ = ["clean"]


def clean(path: str) -> str:
    """Return an absolute path without empty parts, "." and "..".

    It starts at the root whatever it began with; two slashes in front, which POSIX leaves open and
    `posixpath.normpath` keeps, are one.  Links are not followed: for what is looked up, not a name.
    """
    return "/" + posixpath.normpath(f"/{path}").lstrip("/")
