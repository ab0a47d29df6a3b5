"""Lines to a terminal that may be slow, from an event loop that may not wait."""

from __future__ import annotations

import io
import os
import sys
import threading
from collections import deque
from typing import TextIO

from perdure.cli.wording import clock
from perdure.errors import PerdureError, UsageError

LINES_MAX = 10_000
BEGUN_MAX = 64 * 1024
"""Letters of a line that is not complete; a longer one is written in pieces."""
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


class WholeLines(io.TextIOWrapper):
    """Writes a line when it is complete, and then all of it at once, so that no line of another gets into it."""

    begun: dict[int, str]
    """By thread: what it has written since its last line."""

    def write(self, text: str, /) -> int:
        mine = threading.get_ident()
        whole, newline, rest = (self.begun.pop(mine, "") + text).rpartition("\n")
        if newline:
            super().write(whole + newline)
        if "\r" in rest or len(rest) > BEGUN_MAX:
            super().write(rest)
        elif rest:
            self.begun[mine] = rest
        return len(text)

    def flush(self) -> None:
        """Writes also what has no end yet: of this thread, and for the main thread of all."""
        mine = threading.get_ident()
        all_ = threading.current_thread() is threading.main_thread()
        for thread in list(self.begun) if all_ else [mine]:
            super().write(self.begun.pop(thread, ""))
        super().flush()


def whole_lines(stream: TextIO) -> TextIO:
    """The same stream for the code of people, whose lines share a terminal with those of a Printer."""
    file = os.fdopen(os.dup(stream.fileno()), "wb")
    made = WholeLines(file, encoding=stream.encoding, errors=stream.errors, line_buffering=True)
    made.begun = {}
    return made


def tell_error(error: PerdureError) -> None:
    """One sentence on standard error, in a process that ends with it."""
    red = is_coloured(sys.stderr)
    text = f"perdure: {error}"
    sys.stderr.write((f"\x1b[{_CODES['red']}m{text}\x1b[0m" if red else text) + "\n")
    sys.stderr.flush()


def exit_code(error: PerdureError) -> int:
    """2 for a command that was not written right, 1 for what could not be done."""
    return 2 if isinstance(error, UsageError) else 1


def is_coloured(stream: TextIO) -> bool:
    """Whether colours are wanted: on a terminal, unless NO_COLOR or a dumb one says otherwise."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return bool(os.environ.get("FORCE_COLOR")) or stream.isatty()


def stamp(printer: Printer, now: int) -> str:
    """The time (µs) at the beginning of a line."""
    return printer.style(clock(now, parts=True), "dim")
