"""A commit is encoded change by change: the same bytes as fastavro's, and each run keeps its own slice of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from perdure.core import avro, codec
from perdure.errors import EncodingError
from tests.core.journal import Journal, asked, done, started


def commit(runs: int) -> dict[str, Any]:
    changes = [
        {"entity": f"run-{n}", "prev": n, "ops": [done(f"/step-{n}", b'"%d"' % n), asked("/next")]}
        for n in range(runs)
    ]
    return {"changes": changes, "acks": [{"target": "j1", "seq": 7}] if runs else []}


@pytest.mark.parametrize("runs", [0, 1, 2, 63, 64, 200])
def test_the_bytes_are_those_of_the_schema(runs: int) -> None:
    body = commit(runs)
    value, parts = codec.encode_commit(body)
    assert value == codec.encode("Commit", body)
    assert codec.decode(value) == ("Commit", body)
    assert all(part in value for part in parts)
    assert [codec.ops_of(part) for part in parts] == [change["ops"] for change in body["changes"]]
    assert codec.parts_of(codec.decode(value)[1]) == parts
    assert codec.decode_parted(value) == ("Commit", body, parts)


def test_only_commits_have_parts() -> None:
    value = codec.encode("Released", {"reason": "leave"})
    assert codec.decode_parted(value) == ("Released", {"reason": "leave"}, None)


def test_blocks_that_say_their_size_are_read() -> None:
    value, (part,) = codec.encode_commit(commit(1))
    prefix = value[: value.index(part) - 1]
    sized = prefix + avro.long(-1) + avro.long(len(part)) + value[value.index(part) :]
    assert codec.decode_parted(sized) == codec.decode_parted(value)
    assert codec.decode(sized) == codec.decode(value)


@pytest.mark.parametrize("runs", [0, 1, 3])
def test_what_is_torn_or_flipped_is_read_alike_with_and_without_parts(runs: int) -> None:
    whole = codec.encode_commit(commit(runs))[0]
    torn = [whole[:size] for size in range(10, len(whole))]
    flipped = [bytes([*whole[:at], whole[at] ^ 0x83, *whole[at + 1 :]]) for at in range(10, len(whole))]
    for value in (*torn, *flipped, whole + b"x"):
        assert outcome(lambda value: codec.decode_parted(value)[:2], value) == outcome(codec.decode, value)


def outcome(decode: Callable[[bytes], Any], value: bytes) -> Any:
    """What it reads, or that it refuses."""
    try:
        return decode(value)
    except EncodingError:
        return EncodingError


def test_a_body_that_does_not_fit_is_refused() -> None:
    with pytest.raises(EncodingError, match="does not fit"):
        codec.encode_commit({"changes": [{"entity": 5}], "acks": []})


def test_a_corrupt_part_is_refused() -> None:
    with pytest.raises(EncodingError, match="history is corrupt"):
        codec.ops_of(b"")


def test_each_run_of_a_shared_commit_keeps_its_own_part_whoever_reads_it() -> None:
    j = Journal()
    j.claim()
    names = ("r", "s")
    for n, run in enumerate(names):
        j.start(run, command=f"c{n}")
    changes = [
        {"entity": run, "prev": j.state.runs[run].prev, "ops": [started(), asked(f"/{run}")]} for run in names
    ]
    assert j.append("Commit", {"changes": changes, "acks": []}, j.stamp()) is None
    for state in (j.state, j.refolded()):
        for run in names:
            (part,) = state.runs[run].history
            assert codec.ops_of(part) == [started(), asked(f"/{run}")]
            assert state.runs[run].size == len(part)
