# What cffi makes of wire.h, calls.h and lib.h.
from typing import Any

ffi: Any
lib: Any
