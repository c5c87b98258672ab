"""The documents by name: bytes to Spec, Process, Resources, State, Features."""

from __future__ import annotations

from .document import decode_document
from .features import Features
from .model import Spec
from .process import Process
from .resources import Resources
from .state import State

__all__ = ["decode_features", "decode_process", "decode_resources", "decode_spec", "decode_state"]


def decode_spec(data: bytes | str) -> Spec:
    """Decode a ``config.json``."""
    return decode_document(data, Spec)


def decode_process(data: bytes | str) -> Process:
    """Decode the process of an exec."""
    return decode_document(data, Process)


def decode_resources(data: bytes | str) -> Resources:
    """Decode the limits of an update."""
    return decode_document(data, Resources)


def decode_state(data: bytes | str) -> State:
    """Decode what ``state`` printed."""
    return decode_document(data, State)


def decode_features(data: bytes | str) -> Features:
    """Decode what ``features`` printed."""
    return decode_document(data, Features)
