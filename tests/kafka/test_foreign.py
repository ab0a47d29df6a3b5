"""Services that know nothing of perdure start runs on a real broker: in each format, and in transactions."""

from __future__ import annotations

import asyncio
import json
import uuid
from io import BytesIO
from typing import Any

import fastavro
import fastavro.schema
import pytest

from tests.brokers import broker
from tests.house.sources import ROOT
from tests.kafka.commands import perdure
from tests.kafka.strangers import Stranger, shop

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio]


def placed(n: int, **more: Any) -> bytes:
    return json.dumps({"name": "order/placed", "data": {"n": n}, **more}).encode()


def single_object(event: dict[str, Any]) -> bytes:
    """As any Avro library writes it, by the schema that perdure publishes."""
    schema = json.loads((ROOT / "schemas" / "perdure.Event.avsc").read_text())
    canonical = fastavro.schema.to_parsing_canonical_form(schema)
    out = BytesIO()
    out.write(b"\xc3\x01" + bytes.fromhex(fastavro.schema.fingerprint(canonical, "CRC-64-AVRO")))
    fastavro.schemaless_writer(out, fastavro.parse_schema(schema), event)
    return out.getvalue()


async def test_every_format_that_needs_no_registry() -> None:
    cloud = {"specversion": "1.0", "type": "order/placed", "source": "/till", "id": "c3"}
    avro = {"name": "order/placed", "id": "a5", "ts": 1_700_000_000_000_000, "key": "k5", "data": b'{"n": 5}'}
    async with shop(broker().url(partitions=1)) as it:
        till = Stranger(it.url)
        till.send(placed(1, id="j1"), key=b"k1")
        till.send(b'{"n": 2}', key=b"k2", headers={"event": b"order/placed", "id": b"h2"})
        till.send(json.dumps({**cloud, "data": {"n": 3}}).encode(), key=b"k3")
        binary = {"specversion": "1.0", "type": "order/placed", "source": "/till", "id": "c4"}
        till.send(
            b'{"n": 4}', key=b"k4", headers={f"ce_{name}": text.encode() for name, text in binary.items()}
        )
        till.send(single_object(avro))
        till.send(placed(6), key=b"k6")
        await it.until(lambda: len(it.orders) == 6)
        assert [(event_id, key, data["n"]) for event_id, key, data in it.orders[:5]] == [
            ("j1", "k1", 1),
            ("h2", "k2", 2),
            ("c3", "k3", 3),
            ("c4", "k4", 4),
            ("a5", "k5", 5),
        ]
        assert it.orders[5][0].startswith("entry 0:5:"), "without an id, its place is one"


async def test_committed_transactions_start_runs_once_and_aborted_ones_never() -> None:
    async with shop(broker().url(partitions=1)) as it:
        till = Stranger(it.url, **{"transactional.id": f"till-{uuid.uuid4().hex}"})
        till.client.init_transactions(30)
        for n in range(8):
            till.client.begin_transaction()
            till.send(placed(n))
            till.send(placed(100 + n))
            if n % 2:
                till.client.abort_transaction(30)
            else:
                till.client.commit_transaction(30)
        Stranger(it.url).send(placed(1_000))
        await it.until(lambda: 1_000 in it.numbers)
        assert it.numbers == [0, 100, 2, 102, 4, 104, 6, 106, 1_000]
        assert await it.letters(0) == []

        # A worker that starts anew reads over the same marks and aborted entries.
        async with shop(it.url) as other:
            Stranger(it.url).send(placed(1_001))
            await it.until(lambda: 1_001 in it.numbers + other.numbers)
        assert sorted(it.numbers + other.numbers)[-2:] == [1_000, 1_001]
        assert len(it.numbers + other.numbers) == 10


async def test_an_open_transaction_holds_back_its_partition_and_loses_nothing() -> None:
    async with shop(broker().url(partitions=2)) as it:
        name = f"till-{uuid.uuid4().hex}"
        till = Stranger(it.url, **{"transactional.id": name})
        till.client.init_transactions(30)
        till.client.begin_transaction()
        till.send(placed(1))
        plain = Stranger(it.url)
        plain.send(placed(2))
        plain.send(placed(3), partition=1)
        await it.until(lambda: it.numbers == [3])
        till.client.commit_transaction(30)
        await it.until(lambda: it.numbers == [3, 1, 2])

        # The service dies in the middle of a transaction; started again under its name, it fences its former self.
        till.client.begin_transaction()
        till.send(placed(4))
        plain.send(placed(5))
        Stranger(it.url, **{"transactional.id": name}).client.init_transactions(30)
        await it.until(lambda: 5 in it.numbers)
        assert it.numbers == [3, 1, 2, 5]


async def test_what_cannot_be_read_is_buried_and_holds_up_nobody() -> None:
    async with shop(broker().url(partitions=1)) as it:
        till = Stranger(it.url)
        for value in (b"hello", b"", b"\xc3\x01unheard of", b"\0\0\0\0\7body", b'{"n": 1}'):
            till.send(value, key=b"\xff")
        till.send(placed(1), key=b"k")
        await it.until(lambda: it.numbers == [1])
        letters = await it.letters(5)
        assert [(letter.topic, letter.partition, letter.offset, letter.key) for letter in letters] == [
            ("events", 0, n, b"\xff") for n in range(5)
        ]
        listed = ("dead-letters", "list", "--json", "--log", it.url.partition("?")[0])
        shown = await asyncio.to_thread(perdure, *listed)
        assert shown.returncode == 0, shown.stderr
        found = json.loads(shown.stdout)[::-1]
        for letter, words in zip(
            found,
            (
                "neither an event",
                "neither an event",
                "unknown type or version",
                "PERDURE_SCHEMA_REGISTRY_URL",
                "no event name",
            ),
            strict=True,
        ):
            assert words in letter["reason"], letter
