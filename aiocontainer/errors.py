"""Every exception that aiocontainer raises: fields first, one sentence made from them.

`ContainerError` is the root.  Each class is also the builtin that Python programmers would
catch for the same event, so ``except OSError`` and ``except LookupError`` keep working.
"""

from __future__ import annotations

import errno
import os

TYPE_CHECKING = False  # `typing` takes longer to import than most commands run
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

__all__ = [
    "BootstrapError",
    "CgroupError",
    "ContainerError",
    "ContainerExited",
    "CriuError",
    "ExistsError",
    "GVariantError",
    "HelperError",
    "HookError",
    "ImageError",
    "NetworkError",
    "NotFoundError",
    "NotRunningError",
    "OutOfMemoryError",
    "PausedError",
    "ResctrlError",
    "RequestGoneError",
    "SpecError",
    "StateCorruptError",
    "StateError",
    "SystemdError",
    "UnitExistsError",
    "UnsupportedError",
    "WorkerLostError",
]


if TYPE_CHECKING:

    class Addressed(Protocol):
        """What a failed step shows of itself: where it was asked for, and what it does."""

        @property
        def origin(self) -> str: ...

        def advice(self, errno: int, /) -> str: ...


class ContainerError(Exception):
    """Root of all errors of this package.  They can be pickled, as results of other processes."""

    def __reduce__(self) -> tuple[object, ...]:
        return _again, (type(self), super().__reduce__()[1], self.__dict__)


def _again(kind: type[ContainerError], args: tuple[object, ...], fields: dict[str, object]) -> ContainerError:
    """Make an error with these fields: what it is made from is not what it keeps as arguments."""
    base = OSError if issubclass(kind, OSError) else Exception
    error = base.__new__(kind)
    base.__init__(error, *args)
    error.__dict__.update(fields)
    return error


class SpecError(ContainerError, ValueError):
    """A document or an argument says something that cannot be.

    `origin` is its address, ``$.mounts[3].options[0]``, or the name of the argument.
    """

    def __init__(self, problem: str, *, origin: str) -> None:
        super().__init__(problem, origin)
        self.problem = problem
        self.origin = origin

    def __str__(self) -> str:
        return f"{self.origin}: {self.problem}"


class GVariantError(SpecError):
    """Text or a value that is not what GVariant's text format can say.

    `column` counts the characters of the text from 1; 0 where it is a value that is wrong.
    """

    def __init__(self, problem: str, *, origin: str, column: int = 0) -> None:
        super().__init__(problem, origin=origin)
        self.column = column

    def __str__(self) -> str:
        place = f" column {self.column}:" if self.column else ""
        return f"{self.origin}:{place} {self.problem}"


class UnsupportedError(ContainerError, NotImplementedError):
    """Valid, but this machine or this version cannot do it; `needs` says what is missing."""

    def __init__(self, feature: str, *, needs: str, origin: str = "") -> None:
        super().__init__(feature, needs, origin)
        self.feature = feature
        self.needs = needs
        self.origin = origin

    def __str__(self) -> str:
        place = f"{self.origin}: " if self.origin else ""
        return f"{place}{self.feature} is not supported here: needs {self.needs}"


class StateError(ContainerError, RuntimeError):
    """The container's status does not allow the operation.  OCI runtime.md "Operations"."""

    def __init__(self, operation: str, *, status: str, id: str = "", reason: str = "") -> None:
        super().__init__(operation, status, id, reason)
        self.operation = operation
        self.status = status
        self.id = id
        self.reason = reason

    def __str__(self) -> str:
        name = f"container {self.id!r}" if self.id else "container"
        text = f"cannot {self.operation} {name}: it is {self.status}"
        return f"{text} ({self.reason})" if self.reason else text


class NotRunningError(StateError):
    """The operation needs a running container, and its init has ended or not begun."""


class PausedError(StateError):
    """The operation would hang on a frozen container."""


class NotFoundError(ContainerError, LookupError):
    """No such container."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self.id = id

    def __str__(self) -> str:
        return f"container {self.id!r} does not exist"


class ExistsError(ContainerError, FileExistsError):
    """The id, or an object that it would need, is already in use."""

    def __init__(self, id: str, *, what: str = "container") -> None:
        super().__init__(id, what)
        self.id = id
        self.what = what

    def __str__(self) -> str:
        return f"{self.what} {self.id!r} already exists"


class StateCorruptError(ContainerError, ValueError):
    """What the state directory holds for a container cannot be trusted; `path` is the file."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path = path
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}"


class BootstrapError(ContainerError, OSError):
    """A step of the plan failed in the container's own process, before execve(2).

    `step` is the step, `origin` the place in ``config.json`` that asked for it, `call` the system
    call that failed, `advice` what the kernel may mean by that.
    """

    def __init__(self, step: Addressed | None, errno: int, *, call: str = "") -> None:
        super().__init__(errno, os.strerror(errno))
        self.step = step
        self.origin: str = step.origin if step is not None else ""
        self.call = call
        self.advice: str = step.advice(errno) if step is not None else ""

    def __str__(self) -> str:
        place = f"{self.origin}: " if self.origin else ""
        what = f"{self.step}: " if self.step is not None else ""
        call = f" ({self.call})" if self.call else ""
        advice = f": {self.advice}" if self.advice else ""
        return f"{place}{what}{self.strerror}{call}{advice}"


class HelperError(ContainerError, OSError):
    """The helper itself could not be started, died, or did not keep to the protocol."""

    def __init__(self, problem: str, *, errno: int = 0) -> None:
        super().__init__(errno, problem)
        self.problem = problem

    def __str__(self) -> str:
        return self.problem


class NetworkError(ContainerError, OSError):
    """The kernel refused something about a network device; `device` is its name, or a route."""

    def __init__(self, operation: str, errno: int, *, device: str = "", origin: str = "") -> None:
        super().__init__(errno, os.strerror(errno))
        self.operation = operation
        self.device = device
        self.origin = origin

    def __str__(self) -> str:
        place = f"{self.origin}: " if self.origin else ""
        device = f" {self.device}" if self.device else ""
        return f"{place}{self.operation}{device}: {self.strerror}"


class CgroupError(ContainerError, OSError):
    """A cgroup file or directory refused; `value` is what was to be written, if anything.

    `origin` is the place in the specification that asked for it, `advice` what the kernel may mean.
    """

    def __init__(
        self, path: str, errno: int, *, value: str | None = None, origin: str = "", advice: str = ""
    ) -> None:
        super().__init__(errno, os.strerror(errno), path)
        self.path = path
        self.value = value
        self.origin = origin
        self.advice = advice

    def __str__(self) -> str:
        place = f"{self.origin}: " if self.origin else ""
        wrote = f" (writing {self.value!r})" if self.value is not None else ""
        advice = f": {self.advice}" if self.advice else ""
        return f"{place}{self.path}: {self.strerror}{wrote}{advice}"


class OutOfMemoryError(ContainerError, MemoryError):
    """The kernel killed for want of memory before the program ran: a limit is too small even for us.

    `kills` is how many processes.  Not `certain` where others in the container may have been meant.
    """

    def __init__(self, operation: str, kills: int, *, id: str = "", certain: bool = True) -> None:
        super().__init__(operation, kills, id)
        self.operation = operation
        self.kills = kills
        self.id = id
        self.certain = certain

    def __str__(self) -> str:
        how = "" if self.certain else "possibly "
        reason = "the limit of memory is too small to begin with"
        return f"cannot {self.operation} container {self.id!r}: {how}killed for want of memory, {reason}"


class ResctrlError(ContainerError, OSError):
    """A resctrl file or directory refused; `status` are the kernel's own words about it, if any."""

    def __init__(self, path: str, errno: int, *, value: str | None = None, status: str = "") -> None:
        super().__init__(errno, os.strerror(errno), path)
        self.path = path
        self.value = value
        self.status = status

    def __str__(self) -> str:
        wrote = f" (writing {self.value!r})" if self.value is not None else ""
        status = f": {self.status}" if self.status else ""
        return f"{self.path}: {self.strerror}{wrote}{status}"


class SystemdError(ContainerError, OSError):
    """The service manager refused, failed or did not answer.

    `name` is the D-Bus error name, "" where there is none; `result` is how its job ended ("failed",
    "canceled", "timeout", "dependency", "skipped"); `property` the property that it would not take.
    """

    def __init__(
        self,
        operation: str,
        name: str,
        message: str,
        *,
        unit: str = "",
        result: str = "",
        property: str = "",
        errno: int = 0,
    ) -> None:
        super().__init__(errno, message)
        self.operation = operation
        self.name = name
        self.message = message
        self.unit = unit
        self.result = result
        self.property = property

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        name = f" ({self.name})" if self.name else ""
        return f"{self.operation}{unit}: {self.message}{name}"


class UnitExistsError(SystemdError):
    """A unit of that name is there, and is somebody else's; `state` is its ActiveState."""

    def __init__(self, unit: str, state: str) -> None:
        name = "org.freedesktop.systemd1.UnitExists"
        super().__init__("StartTransientUnit", name, f"there is one already, which is {state}", unit=unit)
        self.state = state


class RequestGoneError(ContainerError, LookupError):
    """Nobody waits any more for the answer about a system call; `pid` called `number`."""

    def __init__(self, pid: int, number: int) -> None:
        super().__init__(pid, number)
        self.pid = pid
        self.number = number

    def __str__(self) -> str:
        return f"process {self.pid} no longer waits in system call {self.number}"


class HookError(ContainerError, RuntimeError):
    """A hook failed: `hook` is its address, ``$.hooks.prestart[0]``, `output` the tail of what it wrote.

    `returncode` is as in subprocess; None where it did not end by itself, and `problem` says why.
    """

    def __init__(
        self, hook: str, returncode: int | None, output: bytes = b"", *, problem: str = "timed out"
    ) -> None:
        super().__init__(hook, returncode, output, problem)
        self.hook = hook
        self.returncode = returncode
        self.output = output
        self.problem: str = problem if returncode is None else f"ended with {returncode}"

    def __str__(self) -> str:
        tail = self.output.decode(errors="backslashreplace").strip()
        return f"{self.hook}: {self.problem}" + (f": {tail}" if tail else "")


class ImageError(ContainerError, ValueError):
    """An image is not what it has to be, or not what its digest says.

    `path` is the image's, `digest` that of the blob or layer in question, `entry` the name in its archive;
    each is "" where there is none, or where it does not matter.
    """

    def __init__(self, problem: str, *, path: str = "", digest: str = "", entry: str = "") -> None:
        super().__init__(problem, path, digest, entry)
        self.problem = problem
        self.path = path
        self.digest = digest
        self.entry = entry

    def __str__(self) -> str:
        entry = f"entry {self.entry!r}" if self.entry else ""
        return ": ".join(part for part in (self.path, self.digest, entry, self.problem) if part)


class WorkerLostError(ContainerError, ConnectionError):
    """Each of the workers that a job was given to went away before its end; `worker` was the last."""

    def __init__(self, worker: str) -> None:
        super().__init__(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        self.worker = worker

    def __str__(self) -> str:
        return f"the worker {self.worker} went away, as others had before it"


class CriuError(ContainerError, RuntimeError):
    """CRIU refused or failed; `log` holds the lines of its log that say why."""

    def __init__(self, operation: str, problem: str, log: Sequence[str] = ()) -> None:
        super().__init__(operation, problem, tuple(log))
        self.operation = operation
        self.problem = problem
        self.log: tuple[str, ...] = tuple(log)

    def __str__(self) -> str:
        return "\n".join((f"{self.operation}: {self.problem}", *self.log))


class ContainerExited(ContainerError):  # noqa: N818 - named as the event that it reports
    """A container or a command in it ended otherwise than by status 0; `exit` is its status."""

    def __init__(self, exit: object, *, args: Sequence[str] = (), stderr: bytes = b"") -> None:
        super().__init__(exit, tuple(args), stderr)
        self.exit = exit
        self.command: tuple[str, ...] = tuple(args)
        self.stderr = stderr

    def __str__(self) -> str:
        tail = self.stderr[-1000:].decode(errors="backslashreplace").strip()
        return f"{' '.join(self.command) or 'container'}: {self.exit}" + (f": {tail}" if tail else "")
