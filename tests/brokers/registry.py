"""A registry for tests, and a way to it that can be closed."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.brokers.asking import unavailable
from tests.house.sources import ROOT

SCRIPT = str(ROOT / "infra" / "registry.sh")
MISSING = 3
STARTED_S = 110


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
        yield started.stdout.strip()
    finally:
        run("stop")


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
