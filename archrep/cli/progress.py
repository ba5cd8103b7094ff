"""Progress of long work: bars on a terminal, now and then a line elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from typing import Any

SECONDS_BETWEEN_LINES = 10.0
"""Where stderr is no terminal."""


class Display:
    """Shows stages of work, one below the other; a context manager.

    Args:
        patience: Seconds before the first line where stderr is no terminal; short work says none.

    Example:
        >>> with Display() as display:
        ...     display.show("training", 3, 10, "3 of 10")
    """

    def __init__(self, patience: float = 0.0) -> None:
        self._patience = patience

    def __enter__(self) -> Display:
        self._next_line = time.monotonic() + self._patience
        self._tasks: dict[str, Any] = {}
        self._bars: Any = None
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bars = Progress(
                TextColumn("{task.description:>10}"),
                BarColumn(),
                TextColumn("{task.fields[text]}"),
                console=Console(stderr=True),
            )
            self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def show(
        self, stage: str, done: int | None = None, total: int | None = None, text: str = ""
    ) -> None:
        """Where a stage stands.

        Args:
            stage: Its name.
            done: Units of work done; `None` for a stage that only begins.
            total: Units in all, or `None` if that is not known.
            text: What to print beside the bar.
        """
        if self._bars is None:
            self._print(stage, done, total, text)
            return
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage, total=None, text="")
        self._bars.update(self._tasks[stage], completed=done or 0, total=total, text=text)

    def _print(self, stage: str, done: int | None, total: int | None, text: str) -> None:
        now = time.monotonic()
        if done is None:
            print(f"{stage} ...", file=sys.stderr, flush=True)
        elif now >= self._next_line:
            self._next_line = now + SECONDS_BETWEEN_LINES
            print(f"{stage}: {text}", file=sys.stderr, flush=True)
