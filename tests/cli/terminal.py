"""`perdure` as a process of its own, read like a terminal: wait for a line, with a deadline."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from typer.testing import CliRunner

from perdure.cli.root import app as commands
from tests.house.sources import ROOT

DEADLINE_S = 25.0


def environ(**more: str) -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PERDURE_", "FORCE_COLOR"))
    }
    return kept | {"PYTHONPATH": str(ROOT / "framework"), "TZ": "UTC"} | more


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "perdure.cli", *arguments]


def perdure(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environ(),
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )


def on_terminal(folder: Path, columns: int, *arguments: str) -> list[str]:
    """The lines that a command prints on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    env = environ(TERM="xterm", NO_COLOR="1", COLUMNS=str(columns))
    process = subprocess.Popen(command(*arguments), cwd=folder, env=env, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65_536):
            shown += piece
    except OSError:  # the end of what a terminal has to say
        process.wait(DEADLINE_S)
    finally:
        os.close(ours)
        process.kill()
        process.wait(DEADLINE_S)
    return shown.decode().splitlines()


class Screen:
    """A running command and everything that it has printed."""

    def __init__(
        self, folder: Path, arguments: Sequence[str], before: str = "", env: Mapping[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{before}; from perdure.cli.root import app; app()", *arguments]
            if before
            else command(*arguments),
            cwd=folder,
            env=environ(**(env or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._text = ""
        self._seen = 0
        self._ended = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._text += line
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    @property
    def text(self) -> str:
        with self._news:
            return self._text

    def until(self, pattern: str) -> re.Match[str]:
        """The first match after the one before."""
        compiled = re.compile(pattern)
        with self._news:

            def found() -> re.Match[str] | None:
                return compiled.search(self._text, self._seen)

            self._news.wait_for(lambda: found() is not None or self._ended, DEADLINE_S)
            match = found()
            assert match is not None, (
                f"nothing like {pattern!r} after position {self._seen} of:\n{self._text}"
            )
            self._seen = match.end()
            return match

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_S)

    def kill(self) -> None:
        """kill -9 for it and all that it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        finally:
            self.process.wait(DEADLINE_S)
            self._reader.join(DEADLINE_S)
            assert self.process.stdout is not None
            self.process.stdout.close()


@contextmanager
def screen(
    folder: Path, *arguments: str, before: str = "", env: Mapping[str, str] | None = None
) -> Iterator[Screen]:
    """Starts a command, with code that runs before it and more variables, and leaves nothing of it behind."""
    shown = Screen(folder, arguments, before, env)
    try:
        yield shown
    finally:
        shown.kill()


def told(shop: Path, *words: str) -> str:
    """What another process is told about the log of this folder; by this one, to be quick."""
    done = CliRunner().invoke(commands, [*words, "--log", f"sqlite:///{shop}/.perdure/log.db"])
    assert done.exit_code == 0, done.output
    return done.stdout
