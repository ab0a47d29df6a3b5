"""Brokers for one test alone, which may break them."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from perdure.testing.kafka import KafkaBroker
from tests.brokers.leases import Lease
from tests.brokers.script import SCRIPT, environment, kafka_sh

_ENDING = ("sh", "-c", '"$0" wipe; rm -rf "$1"', str(SCRIPT))


@dataclass(frozen=True)
class PrivateBroker(KafkaBroker):
    """One node, or a cluster: nodes are counted from 1."""

    env: Mapping[str, str]

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
def cluster(nodes: int = 3, properties: Mapping[str, str] | None = None) -> Generator[PrivateBroker]:
    """Three nodes (or one) while the context is open. `properties`: further lines for their server.properties."""
    folder = Path(tempfile.mkdtemp(prefix="perdure-cluster-"))
    env = environment(folder / "nodes", properties)
    lease = Lease(folder / "lease", [*_ENDING, str(folder)], env)
    try:
        yield PrivateBroker(kafka_sh(env, "start", str(nodes), "auto"), env)
    finally:
        kafka_sh(env, "wipe")
        lease.release()


@contextmanager
def private_broker(properties: Mapping[str, str] | None = None) -> Generator[PrivateBroker]:
    """One node while the context is open."""
    with cluster(1, properties) as broker:
        yield broker
