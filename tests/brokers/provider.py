"""The broker that all tests share."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path

import pytest

from perdure.testing.kafka import SERVERS_VARIABLE, KafkaBroker, named_broker
from tests.brokers.asking import answers
from tests.brokers.container import local_image, shared_container
from tests.brokers.leases import Lease
from tests.brokers.script import SCRIPT, environment, kafka_sh

Broker = KafkaBroker
_leases: list[Lease] = []
"""Held until this process ends."""


@cache
def broker() -> Broker:
    """A broker that serves. It is not this test's alone: take a `url()`, and break nothing."""
    if (named := named_broker()) is not None:
        if not answers(named.servers):
            pytest.fail(f"{SERVERS_VARIABLE}={named.servers}: no broker answers there", pytrace=False)
        return named
    if (image := local_image()) is not None:
        found, lease = shared_container(folder_of("container", image), image)
    else:
        found, lease = shared_nodes(folder_of("nodes"))
    _leases.append(lease)
    return found


def folder_of(*what: str) -> Path:
    """A folder for this user, this checkout and this kind of broker; runs in other checkouts have another."""
    text = "\n".join([str(SCRIPT), str(os.getuid()), *what])
    return Path(tempfile.gettempdir(), f"perdure-tests-{hashlib.sha256(text.encode()).hexdigest()[:12]}")


def shared_nodes(folder: Path) -> tuple[Broker, Lease]:
    """The broker of this folder: the one that runs, or a new one. `kafka.sh` lets concurrent callers wait."""
    env = environment(folder / "nodes")
    lease = Lease(folder / "lease", [str(SCRIPT), "wipe"], env)
    with lease.or_release():
        servers = kafka_sh(env, "start", "1", "auto")
        if not answers(servers):  # a broker that runs and is deaf, from a run that died
            kafka_sh(env, "wipe")
            servers = kafka_sh(env, "start", "1", "auto")
    return Broker(servers), lease
