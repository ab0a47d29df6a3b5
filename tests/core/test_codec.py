"""Bytes and records: what a release wrote stays readable for ever, and what is not a whole record is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.core import codec
from perdure.core.fold import commands, messages, runs
from perdure.errors import EncodingError
from tests.core.schema_values import bodies
from tests.golden import files, samples, write

GOLDEN = {path.stem: files.load(path) for path in sorted(files.FOLDER.glob("*.json"))}
each = pytest.mark.parametrize("golden", [pytest.param(g, id=name) for name, g in GOLDEN.items()])


@each
def test_a_golden_value_is_read_as_what_it_said_when_it_was_written(golden: files.Golden):
    record, body = codec.decode(golden.value)
    assert record == golden.record
    assert _says(body, golden.body, superseded=golden.value[:10] != codec.schema(record).prefix)


def _says(found: Any, said: Any, *, superseded: bool) -> bool:
    """Whether it is what was written; of a superseded form, with what has been added since."""
    if isinstance(said, dict):
        same = superseded or found.keys() == said.keys()
        return same and all(_says(found[name], said[name], superseded=superseded) for name in said)
    if isinstance(said, list | tuple):
        both = zip(found, said, strict=True)
        return type(found) is type(said) and all(_says(f, s, superseded=superseded) for f, s in both)
    return found == said and type(found) is type(said)


@each
def test_a_golden_value_of_todays_schema_is_written_to_the_same_bytes(golden: files.Golden):
    if golden.value[:10] != codec.schema(golden.record).prefix:
        pytest.skip("of a schema that was superseded: it is read, and no longer written")
    assert codec.encode(golden.record, golden.body) == golden.value


def test_there_is_a_golden_file_of_every_record_and_of_every_member_of_its_unions():
    assert {golden.record for golden in GOLDEN.values()} == set(codec.RECORDS)
    named = {name for golden in GOLDEN.values() for name in _members(golden.body)}
    assert named >= runs.FOLDED_OPS | messages.FOLDED_MESSAGES | commands.FOLDED_COMMANDS
    assert named >= {name for name, _ in samples.OUTCOMES}


def test_there_is_a_golden_file_of_every_sample():
    missing = samples.samples().keys() - GOLDEN.keys()
    assert not missing, "write it: .venv/bin/python -m tests.golden.write"


def _members(value: Any) -> set[str]:
    """Names of the members of unions in a body."""
    if isinstance(value, tuple):
        return {value[0]} | _members(value[1])
    if isinstance(value, dict):
        return set[str]().union(*map(_members, value.values()))
    return set[str]().union(*map(_members, value)) if isinstance(value, list) else set()


def test_writing_golden_files_never_overwrites_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(write, "FOLDER", tmp_path)
    (tmp_path / "Claim.json").write_text("kept")
    assert len(write.write_missing()) == len(samples.samples()) - 1
    assert write.write_missing() == []
    assert (tmp_path / "Claim.json").read_text() == "kept"
    with pytest.raises(FileExistsError):
        files.save(tmp_path / "Claim.json", GOLDEN["Claim"])


@each
def test_a_value_that_is_cut_short_is_refused(golden: files.Golden):
    for end in range(len(golden.value)):
        with pytest.raises(EncodingError):
            codec.decode(golden.value[:end])


@each
def test_a_value_that_runs_on_is_refused(golden: files.Golden):
    with pytest.raises(EncodingError, match="too many"):
        codec.decode(golden.value + b"\0")


@each
def test_an_unknown_fingerprint_is_refused(golden: files.Golden):
    unknown = golden.value[:2] + bytes(8) + golden.value[10:]
    with pytest.raises(EncodingError, match="unknown type or version"):
        codec.decode(unknown)


@pytest.mark.parametrize(
    "value", [b"", b"\xc3", b"\xc3\x01", b"{}", b"\x00" * 40, b'{"name":"user/created"}']
)
def test_what_is_no_record_is_refused(value: bytes):
    with pytest.raises(EncodingError):
        codec.decode(value)


def test_every_form_that_is_superseded_has_a_golden_value():
    """`tests.golden.supersede` keeps a form, and its golden value stays when the new one gets another name."""
    forms = {path.name.split(".")[2] for path in (codec.schema_folder() / "superseded").glob("*.avsc")}
    packed = {golden.body["form"].hex() for golden in GOLDEN.values() if golden.record == "PackedState"}
    assert forms <= packed | {golden.value[2:10].hex() for golden in GOLDEN.values()}


def test_no_two_records_share_a_fingerprint():
    assert len({codec.schema(name).prefix for name in codec.RECORDS}) == len(codec.RECORDS)


@pytest.mark.parametrize(
    "body",
    [{}, {"epoch": "7", "worker": ""}, {"epoch": 2**63, "worker": ""}, {"epoch": 1, "worker": None}],
    ids=["nothing", "text for a number", "too large", "null"],
)
def test_a_body_that_does_not_fit_its_schema_is_refused(body: dict[str, Any]):
    with pytest.raises(EncodingError, match="does not fit"):
        codec.encode("Claim", body)


@pytest.mark.parametrize("record", codec.RECORDS)
def test_whatever_fits_a_schema_is_read_as_it_was_written(record: str):
    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    @given(bodies(record), st.integers(0, 10_000), st.integers(1, 255))
    def there_and_back(body: dict[str, Any], place: int, flip: int) -> None:
        value = codec.encode(record, body)
        assert codec.decode(value) == (record, body)
        damaged = bytearray(value)
        damaged[place % len(value)] ^= flip
        try:
            codec.decode(bytes(damaged))
        except EncodingError:
            return  # any other error would stop every reader of the log

    there_and_back()
