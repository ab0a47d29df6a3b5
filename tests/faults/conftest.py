"""The shim and its zygote for each session, and places with a log for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.conftest import ground
from tests.crash.processes import Child, Place, Zygote
from tests.faults.shim import Faults, compiled

__all__ = ["ground"]

MakePlace = Callable[..., "FaultyPlace"]


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def zygote(shim: Path) -> Iterator[Zygote]:
    made = Zygote(module="tests.faults.zygote", LD_PRELOAD=str(shim))
    yield made
    made.close()


class FaultyPlace(Place):
    """A folder with a log, and processes on it that meet faults."""

    def faults(self, name: str = "faults") -> Faults:
        """New ones, for a process that is yet to start."""
        return Faults(self.folder / name, self.folder / "log.db")

    def start(self, life: str, *, faults: Faults | None = None, **arguments: Any) -> Child:
        if faults is not None:
            arguments["faults"] = str(faults.path)
        return super().start(life, **arguments)


@pytest.fixture
def place(zygote: Zygote, ground: Path) -> Iterator[MakePlace]:
    """Makes a place with a log of its own; its processes end with the test."""
    places: list[FaultyPlace] = []

    def make(**options: Any) -> FaultyPlace:
        folder = ground / f"place-{len(places)}"
        folder.mkdir()
        places.append(FaultyPlace(zygote, folder, **options))
        return places[-1]

    yield make
    for made in places:
        made.close()
