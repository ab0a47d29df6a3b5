"""A zygote for each session, and places with a log for each test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.crash.processes import Place, Zygote

P = TypeVar("P", bound=Place)
MakePlace = Callable[..., Place]


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Path]:
    """Where the logs are: in memory, if the machine has a file system there. What a SIGKILL leaves is the same on both,
    and a disk would make each of some thousand fsyncs last for milliseconds."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="perdure-crash-", dir=memory) as folder:
        yield Path(folder)


@contextmanager
def places(kind: Callable[..., P], zygote: Zygote, ground: Path) -> Generator[Callable[..., P]]:
    """Makes places of a kind, each with a log of its own; their processes end with the context."""
    made: list[P] = []

    def make(**options: Any) -> P:
        folder = ground / f"place-{len(made)}"
        folder.mkdir()
        made.append(kind(zygote, folder, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def place(zygote: Zygote, ground: Path) -> Iterator[MakePlace]:
    """Makes a place with a log of its own; its processes end with the test."""
    with places(Place, zygote, ground) as make:
        yield make
