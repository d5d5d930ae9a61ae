"""Shows the progress of a long computation on standard error: a bar on a terminal, else lines."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

INTERVAL = 30.0  # seconds between lines, where standard error is not a terminal


class Progress:
    """Shows the steps of a training run, or of another long computation.

    On a terminal it is a bar. Elsewhere, as in a log file, it is a line every ``INTERVAL`` seconds,
    and one at the end of each epoch. An output that is closed, such as a pipe, ends the display and
    not the run.

    Args:
      title: line that is shown first; '' for none.
      total: number of steps, those of calibration included.
      done: number of steps that an earlier process has done.
      unit: what a step is called.
      delay: seconds before a bar is shown.
      shown: whether to show anything.
    """

    def __init__(
        self,
        title: str,
        total: int,
        done: int = 0,
        *,
        unit: str = "step",
        delay: float = 0,
        shown: bool = True,
    ):
        """Begins the display."""
        self._shown, self._on_terminal = shown, shown and sys.stderr.isatty()
        if title:
            self.say(title)
        self._bar = tqdm(
            total=total,
            initial=done,
            unit=unit,
            dynamic_ncols=True,
            delay=delay,
            disable=not self._on_terminal,
        )
        self._where, self._detail = "", ""
        self._done, self._total = done, total
        self._began = self._last_line = time.perf_counter()
        self._compiling: float | None = None  # when it began

    def __enter__(self) -> "Progress":
        """Enters a ``with`` block, whose end closes the display."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Leaves the bar as it is."""
        self._bar.close()

    def say(self, text: str) -> None:
        """Prints a line of its own, above the bar if there is one."""
        if not self._shown:
            return
        try:
            tqdm.write(text, file=sys.stderr)
            sys.stderr.flush()
        except OSError:  # nobody reads it
            self._shown = False

    def compiling(self) -> None:
        """Says that a program is compiled, until the next step is done."""
        self._bar.set_description_str("compiling ...")
        if self._compiling is None and not self._on_terminal:
            self.say("compiling ...")
            self._compiling = time.perf_counter()

    def begin(self, where: str) -> None:
        """Shows what is in progress, such as an epoch."""
        self._where = where
        self._bar.set_description_str(self._where)

    def train_step(self, num: int, detail: str) -> None:
        """Counts training steps.

        Args:
          num: number of steps.
          detail: metrics of the epoch so far, '' for those shown already.
        """
        self._show(detail or self._detail)
        self.advance(num)

    def advance(self, num: int = 1) -> None:
        """Counts steps of any kind."""
        self._done += num
        self._bar.set_description_str(self._where, refresh=False)
        self._bar.update(num)
        if self._compiling:
            self.say(f"compiled in {time.perf_counter() - self._compiling:.1f} s")
            self._compiling = 0.0
        if time.perf_counter() - self._last_line > INTERVAL:
            self._line()

    def end_epoch(self, detail: str) -> None:
        """Shows the metrics of an epoch that is over."""
        self._show(detail)
        self._line()

    def _show(self, detail: str) -> None:
        self._detail = detail
        self._bar.set_postfix_str(detail, refresh=False)

    def _line(self) -> None:
        self._last_line = time.perf_counter()
        if not self._on_terminal:
            elapsed = tqdm.format_interval(self._last_line - self._began)
            detail = self._detail or f"{self._done} of {self._total}"
            self.say(f"{self._where}, {detail}, {elapsed} elapsed")


def each(
    items: Iterable[Item], name: str, total: int, unit: str, *, delay: float = 0, shown: bool = True
) -> Iterator[Item]:
    """Yields the items of a long loop, and shows how many are done, as ``Progress`` does."""
    with Progress("", total, unit=unit, delay=delay, shown=shown) as display:
        display._where = name  # not shown before the delay is over
        for item in items:
            yield item
            display.advance()
