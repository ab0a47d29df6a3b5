"""The servers that the peers need, each for as long as it is measured, on the loopback interface, with fresh data.

A server that is not on this machine is said by Missing: how to get it, too.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

HERE = Path(__file__).resolve().parent
READY_S = 60.0


class Missing(Exception):
    """A peer that cannot be measured here, and why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def program(name: str, *places: str, how: str) -> str:
    """Where it is."""
    found = shutil.which(name) or next((place for place in places if os.access(place, os.X_OK)), None)
    if found is None:
        raise Missing(f"{name} is not here: {how}")
    return found


@contextmanager
def process(words: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> Generator[None]:
    """A server while the context is open; what it says goes to the file."""
    with log.open("wb") as out:
        running = subprocess.Popen(
            words, stdout=out, stderr=subprocess.STDOUT, env=os.environ | (env or {}), cwd=log.parent
        )
    try:
        yield
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_S
    while not holds():
        if time.monotonic() > deadline:
            raise Missing(f"{what} is not ready within {READY_S:g} s")
        time.sleep(0.05)


def listens(port: int) -> bool:
    with socket.socket() as asked:
        asked.settimeout(1)
        return asked.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def no_server(folder: Path) -> Generator[str]:
    """A file is all that is needed: its folder."""
    yield str(folder)


@contextmanager
def redis(folder: Path) -> Generator[str]:
    server = program("redis-server", how="Debian's package redis-server brings it")
    port = free_port()
    words = [server, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    words += ["--appendonly", "yes", "--appendfsync", "everysec"]
    with process(words, folder / "log"):
        until(lambda: listens(port), "Redis")
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def postgres(folder: Path) -> Generator[str]:
    """PostgreSQL with its defaults, fsync among them. It does not run as root: then as the user `postgres`."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    places = [str(place) for place in versions]
    how = "Debian's package postgresql brings it"
    initdb = program("initdb", *(f"{place}/initdb" for place in places), how=how)
    server = program("postgres", *(f"{place}/postgres" for place in places), how=how)
    prefix: list[str] = []
    if os.geteuid() == 0:
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", free_port()
    made = subprocess.run(
        [*prefix, initdb, "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8"],
        capture_output=True, text=True, check=False, cwd=folder,
    )  # fmt: skip
    if made.returncode:
        raise Missing(f"initdb failed: {made.stderr.strip()}")
    words = [*prefix, server, "-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
    words += ["-c", f"unix_socket_directories={folder}", "-c", "max_connections=200"]
    with process(words, folder / "log"):
        until(lambda: "ready to accept connections" in (folder / "log").read_text(), "PostgreSQL")
        yield f"postgresql://bench@127.0.0.1:{port}/postgres"


@contextmanager
def restate(folder: Path) -> Generator[str]:
    """Its server from npm, one node. The URL: that of its ingress and, behind a comma, that of its admin interface."""
    server = HERE / "node_modules" / ".bin" / "restate-server"
    if not server.exists():
        raise Missing("restate-server is not here: npm brings it, and npm was not found or failed")
    ingress, admin, node = free_port(), free_port(), free_port()
    env = {
        "RESTATE_BASE_DIR": str(folder / "data"),
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_BIND_PORT": str(node),
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }

    def healthy() -> bool:
        try:
            with urlopen(f"http://127.0.0.1:{admin}/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    with process([str(server), "--node-name", "bench"], folder / "log", env):
        until(healthy, "Restate")
        yield f"http://127.0.0.1:{ingress},http://127.0.0.1:{admin}"
