"""A zygote for each module, and places with a log for each test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.crash.processes import Place, Zygote

MakePlace = Callable[..., Place]


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


@pytest.fixture
def place(zygote: Zygote, tmp_path: Path) -> Iterator[MakePlace]:
    """Makes a place with a log of its own; its processes end with the test."""
    places: list[Place] = []

    def make(**options: Any) -> Place:
        folder = tmp_path / f"place-{len(places)}"
        folder.mkdir()
        places.append(Place(zygote, folder, **options))
        return places[-1]

    yield make
    for made in places:
        made.close()
