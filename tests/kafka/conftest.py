"""Places whose log is on Kafka, for the real processes of `tests.crash`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from perdure.testing.kafka import KafkaBroker
from tests.brokers import broker
from tests.crash.conftest import MakePlace
from tests.crash.conftest import zygote as zygote  # the fixture
from tests.crash.processes import Place, Zygote

SESSION_S = 2.5
"""What the brokers of these tests allow at least, and a little."""


@pytest.fixture
def place(zygote: Zygote, tmp_path: Path) -> Iterator[MakePlace]:
    """Makes a place with a log of its own; its processes end with the test. `servers`: on another broker."""
    places: list[Place] = []

    def make(*, servers: str | None = None, **options: Any) -> Place:
        url = urlsplit((broker() if servers is None else KafkaBroker(servers)).url())
        folder = tmp_path / f"place-{len(places)}"
        folder.mkdir()
        (folder / "kafka").write_text(f"{url.netloc}{url.path}")
        places.append(Place(zygote, folder, **{"lease_s": SESSION_S, **options}))
        return places[-1]

    yield make
    for made in places:
        made.close()
