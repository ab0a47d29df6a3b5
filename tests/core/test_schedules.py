"""The fold of schedules: whose ticks count, and that a snapshot holds them."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core import snapshot
from perdure.core.decide import schedules as decide
from perdure.core.routing import schedule_partition
from tests.core.journal import ZOMBIE, Journal, same

HOURLY: dict[str, Any] = {
    "id": "f 0 * * * *",
    "cron": "0 * * * *",
    "tz": "UTC",
    "jitter": 0,
    "catch_up": "all",
    "overlap": "buffer",
}
HOUR = 3_600_000_000


def config(journal: Journal, *schedules: dict[str, Any]) -> str | None:
    function = {"id": "f", "triggers": [], "code": "1", "handler": None, "schedules": list(schedules)}
    version = journal.state.config["version"] + 1
    return journal.append("Config", {"version": version, "functions": [function]}, journal.stamp())


@pytest.fixture
def journal() -> Journal:
    made = Journal()
    made.claim()
    config(made, HOURLY)
    return made


def body(journal: Journal, *due: int) -> dict[str, Any]:
    decided = decide.tick(journal.state, HOURLY, "f", due, due[-1] if due else 0)
    assert decided is not None
    return decided


def test_a_schedule_begins_with_the_config_that_names_it_and_goes_with_it(journal: Journal) -> None:
    assert {name: s.last for name, s in journal.state.schedules.items()} == {HOURLY["id"]: journal.ts}
    began = journal.ts
    config(journal, HOURLY, HOURLY | {"id": "f other"})
    assert journal.state.schedules[HOURLY["id"]].last == began, "it goes on"
    config(journal)
    assert journal.state.schedules == {}


def test_a_schedule_lives_in_one_partition() -> None:
    journals = [Journal(number, 4) for number in range(4)]
    for each in journals:
        each.claim()
        config(each, HOURLY)
    having = [each.state.number for each in journals if each.state.schedules]
    assert having == [schedule_partition(HOURLY["id"], 4)]


def test_a_tick_counts_once_and_for_its_owner_under_its_config(journal: Journal) -> None:
    ticked = body(journal, HOUR)
    assert journal.append("Ticked", ticked, journal.stamp(ZOMBIE)) == "tick of a former owner"
    assert (
        journal.append("Ticked", ticked | {"schedule": "f of old"}, journal.stamp())
        == "tick of another moment"
    )
    assert journal.append("Ticked", ticked | {"to": 0}, journal.stamp()) == "tick that contradicts itself"
    assert journal.append("Ticked", ticked, journal.stamp()) is None
    assert journal.append("Ticked", ticked, journal.stamp()) == "tick of another moment"
    assert [run.event["id"] for run in journal.state.runs.values()] == ["f 0 * * * *@1970-01-01T01:00:00Z"]
    late = body(journal, 2 * HOUR)
    config(journal, HOURLY)
    assert journal.append("Ticked", late, journal.stamp()) == "tick under another config"


def test_a_snapshot_and_another_reader_have_the_same_schedules(journal: Journal) -> None:
    assert journal.append("Ticked", body(journal, HOUR, 2 * HOUR, 3 * HOUR), journal.stamp()) is None
    (schedule,) = journal.state.schedules.values()
    assert (schedule.last, schedule.waiting) == (3 * HOUR, [2 * HOUR, 3 * HOUR])
    assert same(journal.refolded(), journal.state)
    restored, _ = snapshot.restore(snapshot.take(journal.state, 9))
    assert same(restored, journal.state)
