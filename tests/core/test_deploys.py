"""Which definitions are in force, as the registry folds (decision 9)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core import codec
from perdure.core.deploys import KNOWN_MAX, NOTE, RANK, SEEN, Deploys, digest_of
from perdure.core.facts import APP
from perdure.errors import EncodingError

OURS = {APP: b"shop"}


def config(name: str) -> bytes:
    function = {"id": name, "triggers": [name], "code": "1", "handler": None}
    return codec.encode("Config", {"version": 0, "functions": [function], "limits": {}})


class Registry:
    """Entries, and a fold of them."""

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, dict[str, bytes]]] = []
        self.folded = Deploys()

    def put(self, name: str, *, seen: int = 0, note: str = "") -> bool:
        headers = dict(OURS)
        known = self.folded.known.get(digest_of(config(name)))
        if known is not None:
            headers[RANK] = str(known.rank).encode()
        if seen:
            headers[SEEN] = str(seen).encode()
        if note:
            headers[NOTE] = note.encode()
        self.entries.append((config(name), headers))
        return self.folded.take(len(self.entries) - 1, *self.entries[-1])

    @property
    def in_force(self) -> str:
        return name_of(self.folded)

    def compacted(self) -> Deploys:
        """What a late reader folds of a topic that keeps the last entry of each deploy."""
        last = {value: at for at, (value, _) in enumerate(self.entries)}
        found = Deploys()
        for at, (value, headers) in enumerate(self.entries):
            if last[value] == at:
                found.take(at, value, headers)
        return found


def pausing(function: str, *, paused: bool = True, reason: str = "") -> bytes:
    return codec.encode("FunctionPaused", {"function": function, "paused": paused, "reason": reason})


def test_a_pause_stands_whatever_is_deployed() -> None:
    registry = Registry()
    note = OURS | {NOTE: b"pause"}
    assert not registry.folded.take(0, pausing("f", reason="why"), note), "nothing is in force yet"
    registry.entries.append((b"", {}))
    assert registry.put("one")
    assert registry.folded.config() is not None
    config_ = registry.folded.config() or {}
    assert (config_["paused"], config_["version"]) == ({"f": "why"}, 2)
    assert not registry.folded.take(2, pausing("f", reason="why"), note), "it says nothing new"
    assert registry.folded.take(3, pausing("g"), note)
    assert registry.folded.version == 4
    registry.entries += [(b"", {})] * 2
    assert registry.put("two")
    assert registry.folded.paused == {"f": "why", "g": ""}
    assert registry.folded.take(6, pausing("f", paused=False), note)
    assert registry.folded.paused == {"g": ""}


def name_of(deploys: Deploys) -> str:
    return deploys.current.config["functions"][0]["id"] if deploys.current else ""


def test_a_new_deploy_counts_at_once_and_a_restart_of_an_old_one_does_not() -> None:
    registry = Registry()
    assert registry.put("v1")
    assert registry.put("v2")
    assert not registry.put("v1")
    assert registry.in_force == "v2"
    assert registry.folded.version == 2, "where it was put in force"


def test_an_old_deploy_comes_back_over_the_one_that_is_in_force_and_no_other() -> None:
    registry = Registry()
    for name in ("v1", "v2", "v3"):
        registry.put(name)
    assert not registry.put("v1", seen=2), "what had been seen is not in force any more"
    assert registry.put("v1", seen=3)
    assert registry.in_force == "v1"
    assert registry.put("v2"), "a worker of it lives: it ranks above v1"
    assert not registry.put("v1", seen=4), "late"
    assert registry.in_force == "v2"


def test_questions_and_answers_change_nothing() -> None:
    registry = Registry()
    registry.put("v1")
    for note in (b"ask", b"here"):
        assert not registry.folded.take(9, b"?", OURS | {NOTE: note})
    assert registry.in_force == "v1"


def test_what_is_only_known_is_not_in_force_and_keeps_its_rank() -> None:
    registry = Registry()
    registry.put("v1")
    assert not registry.put("v2", note="known")
    assert registry.in_force == "v1"
    assert registry.put("v2")


def test_definitions_that_cannot_be_read_are_told() -> None:
    with pytest.raises(EncodingError):
        Deploys().take(0, b"\xc3\x01whatever", OURS)
    assert not Deploys().take(0, b"\xc3\x01whatever", {}), "what no worker has written says nothing"


def test_so_many_deploys_are_told_apart_and_the_one_in_force_is_among_them() -> None:
    registry = Registry()
    registry.put("v1")
    for number in range(2 * KNOWN_MAX):
        registry.put(f"other-{number}")
    registry.put("v1", seen=registry.folded.version)
    assert len(registry.folded.known) == KNOWN_MAX
    assert registry.in_force == "v1"


NAMES = st.sampled_from(["v1", "v2", "v3"])


@given(st.lists(NAMES, max_size=12))
def test_a_reader_of_what_compaction_left_comes_to_the_same(steps: list[str]) -> None:
    registry = Registry()
    for name in steps:  # as workers do: in force by rank, or over what nobody runs any more
        registry.put(name, seen=registry.folded.version)
    late = registry.compacted()
    assert {d.digest: d.rank for d in late.known.values()} == {
        d.digest: d.rank for d in registry.folded.known.values()
    }
    assert late.version == registry.folded.version
    assert name_of(late) == registry.in_force == (steps[-1] if steps else "")
