"""Each unsafe setting of a topic is refused with a sentence that says what to set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perdure.logs.kafka import KafkaSettings
from perdure.logs.kafka.preflight import Fault, Found, faults_of
from perdure.logs.kafka.topics import specs

SETTINGS = KafkaSettings("host:9092", "shop", "orders")
SPECS = specs(SETTINGS, (8,), replication=3)
JOURNAL, EVENTS, REPLIES, SNAPSHOTS = (
    "shop.orders.journal",
    "shop.events",
    "shop.orders.replies",
    "shop.orders.snapshots",
)


def made(**changes: Found) -> dict[str, Found]:
    """The topics as `perdure topics create` makes them, but for these."""
    return {spec.name: Found(spec.partitions, 3, spec.config) for spec in SPECS} | {
        {"journal": JOURNAL, "events": EVENTS, "replies": REPLIES, "snapshots": SNAPSHOTS}[name]: found
        for name, found in changes.items()
    }


def with_config(name: str, **config: str) -> Found:
    found = made()[name]
    assert found.config is not None
    return replace(found, config=dict(found.config) | {k.replace("_", "."): v for k, v in config.items()})


def faults(found: dict[str, Found], *, development: bool = False) -> list[Fault]:
    return faults_of(SETTINGS, SPECS, found, development=development)


def test_topics_as_they_are_made_have_no_fault() -> None:
    assert faults(made()) == []


def test_one_copy_is_enough_for_development_only() -> None:
    alone = {
        spec.name: Found(spec.partitions, 1, spec.config) for spec in specs(SETTINGS, (8,), replication=1)
    }
    assert faults(alone, development=True) == []
    told = {fault.topic: fault for fault in faults(alone)}
    assert set(told) == {JOURNAL, EVENTS, SNAPSHOTS, "shop.orders.registry"}
    assert all(fault.fatal and "one copy" in fault.sentence for fault in told.values())


@pytest.mark.parametrize(
    ("found", "fatal", "words"),
    [
        ({"journal": Found(6, 3, None)}, True, "has 6 partitions, and needs 8"),
        ({"events": with_config(EVENTS, min_insync_replicas="1")}, True, "Set it to 2"),
        (
            {"journal": with_config(JOURNAL, unclean_leader_election_enable="true")},
            True,
            "Set unclean.leader.election.enable=false",
        ),
        ({"journal": with_config(JOURNAL, cleanup_policy="compact")}, True, "Set cleanup.policy=delete"),
        ({"journal": with_config(JOURNAL, retention_ms="86400000")}, True, "is kept for 24 h only"),
        ({"snapshots": with_config(SNAPSHOTS, retention_bytes="1000000")}, True, "is cut at 1,000,000 bytes"),
        (
            {"journal": with_config(JOURNAL, message_timestamp_type="CreateTime")},
            True,
            "Set message.timestamp.type=LogAppendTime",
        ),
        ({"replies": with_config(REPLIES, message_timestamp_type="CreateTime")}, False, "producers' clocks"),
        (
            {"events": with_config(EVENTS, max_message_bytes="1000000")},
            False,
            "refuses entries over 1,000,000",
        ),
    ],
)
def test_a_fault_says_what_to_set(found: dict[str, Found], fatal: bool, words: str) -> None:
    (fault,) = faults(made(**found))
    assert fault.fatal == fatal
    assert words in fault.sentence
    assert str(fault).startswith(fault.topic)


def test_a_journal_that_has_grown_is_whole_with_the_events_of_its_first_generation() -> None:
    grown = {
        spec.name: Found(spec.partitions, 3, spec.config) for spec in specs(SETTINGS, (8, 16), replication=3)
    }
    assert {name: there.partitions for name, there in grown.items() if there.partitions > 2} == {
        EVENTS: 8,
        JOURNAL: 16,
        SNAPSHOTS: 16,
        REPLIES: 16,
    }
    told = faults(grown)
    assert {fault.topic for fault in told} == {JOURNAL, SNAPSHOTS}
    assert all(
        not fault.fatal and "topics grow --partitions 16` takes them into use" in str(fault) for fault in told
    )


def test_events_that_were_given_more_partitions_are_refused() -> None:
    (fault,) = faults(made(events=Found(9, 3, None)))
    assert (fault.fatal, "has 9 partitions, and needs 8" in fault.sentence) == (True, True)


def test_a_missing_topic_is_named() -> None:
    found = made()
    del found[SNAPSHOTS]
    assert [str(fault) for fault in faults(found)] == [
        f"{SNAPSHOTS}: is missing; make it with `perdure topics create`"
    ]


def test_settings_that_may_not_be_seen_are_no_fault() -> None:
    assert faults({name: replace(found, config=None) for name, found in made().items()}) == []
