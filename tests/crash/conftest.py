"""A zygote for each session, and places with a log for each test."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.processes import Place, Zygote

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


@pytest.fixture
def place(zygote: Zygote, ground: Path) -> Iterator[MakePlace]:
    """Makes a place with a log of its own; its processes end with the test."""
    places: list[Place] = []

    def make(**options: Any) -> Place:
        folder = ground / f"place-{len(places)}"
        folder.mkdir()
        places.append(Place(zygote, folder, **options))
        return places[-1]

    yield make
    for made in places:
        made.close()
