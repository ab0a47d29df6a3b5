"""Messages that share an entry count, and are void, as if each stood alone (A1)."""

from __future__ import annotations

from perdure.core import codec, effects
from perdure.core.facts import CHANNEL, MESSAGES, pack_channel
from tests.core.journal import Journal, same

ORIGIN = "1p4"
UNREADABLE = b"\xc3\x01 of no kind"


def signal(run: str, seq: int) -> bytes:
    body = {"run": run, "name": "go", "data": str(seq).encode(), "command": f"s{seq}"}
    return codec.encode("Message", {"origin": ORIGIN, "seq": seq, "body": ("perdure.Signalled", body)})


def send(journal: Journal, first: int, values: list[bytes], value: bytes | None = None) -> str | None:
    headers = {CHANNEL: pack_channel(ORIGIN, first), MESSAGES: str(len(values)).encode()}
    encoded = codec.encode("Messages", {"messages": values}) if value is None else value
    return journal.append_value(encoded, headers)


def told(journal: Journal) -> list[int]:
    return [int(item.body["data"]) for item in journal.state.runs["r"].inbox]


def waiting() -> Journal:
    journal = Journal()
    journal.claim()
    journal.start("r")
    return journal


def test_messages_of_one_entry_are_taken_in_their_order() -> None:
    journal = waiting()
    assert send(journal, 1, [signal("r", seq) for seq in (1, 2, 3)]) is None
    assert told(journal) == [1, 2, 3]
    assert journal.state.inbound == {ORIGIN: 3}
    assert same(journal.state, journal.refolded())


def test_those_that_come_again_in_another_company_count_once() -> None:
    journal = waiting()
    send(journal, 1, [signal("r", seq) for seq in (1, 2)])
    assert send(journal, 1, [signal("r", seq) for seq in (1, 2, 3, 4)]) is None
    assert told(journal) == [1, 2, 3, 4]
    assert send(journal, 3, [signal("r", seq) for seq in (3, 4)]) == "messages out of their order"
    assert told(journal) == [1, 2, 3, 4]
    assert same(journal.state, journal.refolded())


def test_those_behind_a_gap_are_void_until_it_is_filled() -> None:
    journal = waiting()
    assert send(journal, 2, [signal("r", seq) for seq in (2, 3)]) == "messages out of their order"
    assert told(journal) == []
    assert send(journal, 1, [signal("r", seq) for seq in (1, 2, 3)]) is None
    assert told(journal) == [1, 2, 3]


def test_one_that_cannot_be_read_is_buried_and_holds_up_nobody() -> None:
    journal = waiting()
    assert send(journal, 1, [signal("r", 1), UNREADABLE, signal("r", 3)]) is None
    assert told(journal) == [1, 3]
    assert [e for e in journal.effects if isinstance(e, effects.Bury)]
    assert same(journal.state, journal.refolded())


def test_an_entry_that_cannot_be_read_holds_up_nobody_behind_it() -> None:
    journal = waiting()
    assert send(journal, 1, [signal("r", seq) for seq in (1, 2, 3)], value=UNREADABLE) == "undecodable"
    assert journal.state.inbound == {ORIGIN: 3}
    assert send(journal, 4, [signal("r", seq) for seq in (4, 5)]) is None
    assert told(journal) == [4, 5]


def test_only_messages_share_an_entry() -> None:
    journal = waiting()
    claim = codec.encode("Claim", {"epoch": 9, "worker": "w"})
    assert send(journal, 1, [claim, claim]) == "messages out of their order"
    assert journal.state.epoch == 1
    assert same(journal.state, journal.refolded())
