"""Lines to a terminal that may be slow, from an event loop that may not wait."""

from __future__ import annotations

import os
import threading
from collections import deque
from typing import TextIO

from perdure.cli.wording import clock

LINES_MAX = 10_000
_CODES = {
    "dim": "2",
    "bold": "1",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}


class Printer:
    """Writes lines in a thread of its own. When the terminal stands still, lines are left out, and that is said."""

    def __init__(self, stream: TextIO, *, colours: bool | None = None, lines_max: int = LINES_MAX) -> None:
        self.colours = is_coloured(stream) if colours is None else colours
        self._stream = stream
        self._lines_max = lines_max
        self._lines: deque[str] = deque()
        self._left_out = 0
        self._closed = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="perdure-printer", daemon=True)
        self._thread.start()

    def say(self, line: str) -> None:
        """Prints a line, soon."""
        with self._news:
            if len(self._lines) >= self._lines_max:
                self._left_out += 1
            else:
                self._lines.append(line)
            self._news.notify()

    def style(self, text: str, style: str) -> str:
        """Text in a colour, on a terminal."""
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if self.colours and style else text

    def close(self, timeout_s: float = 1.0) -> None:
        """Prints what is left, if that is possible."""
        with self._news:
            self._closed = True
            self._news.notify()
        self._thread.join(timeout_s)

    def _write(self) -> None:
        while True:
            with self._news:
                while not (self._lines or self._closed):
                    self._news.wait()
                lines = list(self._lines)
                self._lines.clear()
                left_out, self._left_out = self._left_out, 0
                if not lines:
                    return
            if left_out:
                lines.append(f"… {left_out:,} lines were left out: the terminal was too slow for them")
            try:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()
            except (OSError, ValueError):  # the reader is gone: go on without
                return


def is_coloured(stream: TextIO) -> bool:
    """Whether colours are wanted: on a terminal, unless NO_COLOR or a dumb one says otherwise."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def stamp(printer: Printer, now: int) -> str:
    """The time (µs) at the beginning of a line."""
    return printer.style(clock(now, parts=True), "dim")
