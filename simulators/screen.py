"""Progress for people: bars on a terminal, a line now and then when the output is a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

LINES_PER_TASK = 4  # when there is no terminal


class Screen:
    """Tasks with a known number of steps, shown while they advance."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}% {task.fields[note]}"),
            TimeElapsedColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
        )

    def say(self, text: str) -> None:
        """Print a line above the bars."""
        self._progress.console.print(text, markup=False, soft_wrap=True)

    @contextmanager
    def task(self, title: str, steps: int) -> Iterator[Task]:
        """Show one task from nothing to `steps`."""
        with self._progress:
            task = Task(self, self._progress, self._progress.add_task(title, total=steps, note=""))
            task.title, task.steps = title, steps
            yield task


class Task:
    """One bar, or its lines."""

    def __init__(self, screen: Screen, progress: Progress, number: TaskID) -> None:
        self.title, self.steps, self.done = "", 0, 0
        self._screen, self._progress, self._number = screen, progress, number

    def advance(self, note: str = "") -> None:
        """One step is done."""
        self.done += 1
        self._progress.update(self._number, advance=1, note=note)
        every = max(1, self.steps // LINES_PER_TASK)
        if not self._screen.console.is_terminal and self.done % every == 0:
            percent = 100 * self.done // self.steps
            self._screen.say(f"{self.title} {percent}% {note}".rstrip())
