"""A registry for tests, and a way to it that can be closed."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.brokers.asking import unavailable
from tests.house.sources import ROOT

SCRIPT = str(ROOT / "infra" / "registry.sh")
MISSING = 3
STARTED_S = 110
ANSWER_S = 2.0
ANSWERS = 12


def need_client() -> None:
    """Skips, or fails where brokers are required, without the client of registries."""
    try:
        import confluent_kafka.schema_registry  # noqa: F401
    except ImportError as error:
        unavailable(f"the extra `registry` is not installed: {error}", what="Schema Registry")


@contextmanager
def registry_of(folder: Path) -> Iterator[str]:
    """A Schema Registry with nothing in it; its URL. Skips, or fails where brokers are required, when none can be."""
    env = os.environ | {"REGISTRY_DIR": str(folder)}

    def run(command: str) -> subprocess.CompletedProcess[str]:
        words = [SCRIPT, command, *(["auto"] if command == "start" else [])]
        return subprocess.run(words, env=env, capture_output=True, text=True, timeout=STARTED_S, check=False)

    need_client()
    started = run("start")
    if started.returncode == MISSING:
        unavailable(started.stderr.strip(), what="Schema Registry")
    try:
        assert started.returncode == 0, started.stderr
        url = started.stdout.strip()
        _warm(url)
        yield url
    finally:
        run("stop")


def _warm(url: str) -> None:
    """Asks until it answers several times in a row, at any path: one that has just started says that it is ready, and
    leaves some requests hanging."""
    deadline, answers = time.monotonic() + STARTED_S, 0
    while answers < ANSWERS:
        for path in ("/subjects", "/schemas/ids/1", "/../v99/subjects"):
            try:
                urllib.request.urlopen(url + path, timeout=ANSWER_S).close()
            except urllib.error.HTTPError as said:  # that there is no such thing is an answer
                said.close()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise AssertionError(f"the registry at {url} does not answer") from error
                answers = 0
                continue
            answers += 1


class Gate:
    """A port on loopback that leads to another one. While it is shut, it hangs up on who comes, and counts them."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pipes: list[socket.socket] = []
        self._is_open = True
        self.port: int = self._listener.getsockname()[1]
        self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def open(self) -> None:
        self._is_open = True

    def shut(self) -> None:
        """Also breaks what is connected."""
        self._is_open = False
        pipes, self._pipes = self._pipes, []
        for pipe in pipes:
            with suppress(OSError):
                pipe.shutdown(socket.SHUT_RDWR)
            pipe.close()

    def close(self) -> None:
        self.shut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if not self._is_open:
                    near.close()
                    self.refused += 1
                    continue
                far = socket.create_connection(self._target)
                self._pipes += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
