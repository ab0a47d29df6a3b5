"""Where the ports of containers are seen: in the network of the engine that `infra/docker.sh` has started."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Generator
from contextlib import contextmanager

NETWORK_VARIABLE = "PERDURE_TEST_DOCKER_NET"
CLONE_NEWNET = 0x40000000
OWN = "/proc/thread-self/ns/net"


@contextmanager
def engine_network() -> Generator[None]:
    """This thread, with the threads and processes that it makes meanwhile, is in the engine's network.

    Nothing happens with an engine whose network is this machine's.
    """
    there = os.environ.get(NETWORK_VARIABLE)
    if not there:
        yield
        return
    with entered(there):
        yield


@contextmanager
def entered(there: str) -> Generator[None]:
    """This thread, with the threads and processes that it makes meanwhile, is in the network of this path."""
    here = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter_path(there)
        try:
            yield
        finally:
            _enter(here)
    finally:
        os.close(here)


def _enter_path(path: str) -> None:
    there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
    finally:
        os.close(there)


def _enter(descriptor: int) -> None:  # os.setns is new in Python 3.12
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "this thread cannot move to another network")
