"""Brokers for one test alone, which may break them."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from perdure.testing.kafka import KafkaBroker
from tests.brokers.leases import Lease
from tests.brokers.script import SCRIPT, environment, kafka_sh

_ENDING = ("sh", "-c", 'umount -l "$1/nodes/1/data" 2>/dev/null; "$0" wipe; rm -rf "$1"', str(SCRIPT))


@dataclass(frozen=True)
class PrivateBroker(KafkaBroker):
    """One node, or a cluster: nodes are counted from 1."""

    env: Mapping[str, str]
    disk: Path | None = None
    """Where the first node's data lie, when that is a small disk of their own."""

    def kill(self, node: int = 1) -> None:
        """As kill -9 does; it is gone on return. A paused one can be killed too."""
        self._run("kill", node)

    def start(self, node: int = 1) -> None:
        """Starts a node that was killed, with its data. It serves on return, about 5 s later."""
        self._run("revive", node)

    def pause(self, node: int = 1) -> None:
        """Stops it without closing its connections: it looks like a machine that hangs."""
        self._run("pause", node)

    def resume(self, node: int = 1) -> None:
        """Lets a paused one go on."""
        self._run("resume", node)

    def _run(self, command: str, node: int) -> None:
        kafka_sh(self.env, command, str(node))


@contextmanager
def cluster(
    nodes: int = 3,
    properties: Mapping[str, str] | None = None,
    *,
    disk_mb: int | None = None,
    host: str = "127.0.0.1",
) -> Generator[PrivateBroker]:
    """Three nodes (or one) while the context is open. `properties`: further lines for their server.properties.

    `host`: the address of this machine that they serve at.
    `disk_mb`: the first node's data lie on a disk of their own, which is that small. Skips where none can be mounted.
    """
    folder = Path(tempfile.mkdtemp(prefix="perdure-cluster-"))
    env = environment(folder / "nodes", properties) | {"KAFKA_HOST": host}
    lease = Lease(folder / "lease", [*_ENDING, str(folder)], env)
    disk = None if disk_mb is None else _mounted(folder / "nodes" / "1" / "data", disk_mb)
    try:
        yield PrivateBroker(kafka_sh(env, "start", str(nodes), "auto"), env, disk)
    finally:
        if disk is not None:
            # Lazily: a broker that still runs has its files open until `wipe`, which cannot delete a mount.
            subprocess.run(["umount", "-l", str(disk)], check=True)
        kafka_sh(env, "wipe")
        lease.release()


def _mounted(folder: Path, size_mb: int) -> Path:
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "perdure-tests", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk of {size_mb} MB can be mounted here: {done.stderr.strip()}")
    return folder


@contextmanager
def private_broker(
    properties: Mapping[str, str] | None = None, *, disk_mb: int | None = None
) -> Generator[PrivateBroker]:
    """One node while the context is open."""
    with cluster(1, properties, disk_mb=disk_mb) as broker:
        yield broker
