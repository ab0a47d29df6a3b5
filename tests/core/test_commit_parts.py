"""A commit is encoded change by change: the same bytes as fastavro's, and each run keeps its own slice of them."""

from __future__ import annotations

from typing import Any

import pytest

from perdure.core import codec
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
