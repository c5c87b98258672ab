"""A farm's progress in the terminal, with rich (``pip install aiocontainer[rich]``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from ..errors import UnsupportedError

if TYPE_CHECKING:
    from types import TracebackType

    from .farm import FarmMetrics

__all__ = ["ProgressBar"]


class ProgressBar:
    """Shows how many jobs are done, run and failed; to be given to `Farm` as *progress*.

    Used as ``with``, around the farm.  *total* is the number of jobs; None where it is not known.
    """

    def __init__(self, total: int | None = None, *, title: str = "containers") -> None:
        try:
            from rich import progress
        except ImportError as exc:
            raise UnsupportedError("a progress bar", needs="rich", origin="progress") from exc
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[note]}"),
            progress.TimeElapsedColumn(),
        )
        self._task = self._bar.add_task(title, total=total, note="")

    def __call__(self, metrics: FarmMetrics) -> None:
        """Show *metrics*."""
        failed = f", {metrics.failed} failed" if metrics.failed else ""
        note = f"{metrics.running + metrics.starting} alive{failed}"
        self._bar.update(self._task, completed=metrics.ended, note=note)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
