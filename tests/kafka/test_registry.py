"""Events in the Confluent wire format, by a real Schema Registry that is there, away, or does not know the schema."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from perdure import App, Context, Event, LogError
from perdure.client.letters import redrive
from perdure.config import schema_registry
from tests.brokers import broker
from tests.brokers.registry import Gate, registry_of
from tests.kafka.commands import perdure
from tests.kafka.strangers import Stranger, shop

pytestmark = [pytest.mark.kafka, pytest.mark.asyncio]

ORDER = {
    "type": "record",
    "name": "OrderPlaced",
    "namespace": "shop",
    "fields": [{"name": "n", "type": "long"}, {"name": "paid", "type": "boolean", "default": False}],
}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry_of(tmp_path_factory.mktemp("registry")) as url:
        yield url


@pytest.fixture
def gate(registry: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """An open way to the registry, which is configured by it."""
    parts = urlsplit(registry)
    made = Gate((parts.hostname or "", parts.port or 0))
    monkeypatch.setenv("PERDURE_SCHEMA_REGISTRY_URL", f"http://127.0.0.1:{made.port}{parts.path}")
    yield made
    made.close()


def client(url: str) -> Any:
    """Asks again when no answer comes: a registry that has just started has been seen to leave one request hanging."""
    from confluent_kafka.schema_registry import SchemaRegistryClient

    return SchemaRegistryClient({"url": url, "timeout": 10.0, "max.retries": 5})


def registered(url: str, subject: str, schema: object, kind: str = "AVRO", references: Any = ()) -> int:
    from confluent_kafka.schema_registry import Schema

    with client(url) as opened:
        return opened.register_schema(subject, Schema(json.dumps(schema), kind, list(references)))


def titled(what: str) -> dict[str, object]:
    """A JSON Schema of its own whose title names the event."""
    return {"title": "order/placed", "description": what, "type": "object", "properties": {}}


def avro(url: str, value: dict[str, Any], topic: str, schema: object = ORDER) -> bytes:
    """As confluent-kafka's own serializer writes it, and registers its schema."""
    from confluent_kafka.schema_registry.avro import AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    with client(url) as opened:
        make: Any = AvroSerializer  # its own types say that it takes nothing
        serializer = make(opened, json.dumps(schema))
        written = serializer(value, SerializationContext(topic, MessageField.VALUE))
    assert written is not None
    return written


async def test_avro_and_json_by_schemas_of_a_registry(registry: str, gate: Gate) -> None:
    async with shop(broker().url(partitions=1)) as it:
        till = Stranger(it.url)
        named = {"event": b"order/placed"}
        till.send(avro(registry, {"n": 1, "paid": True}, till.topic), key=b"k1", headers=named)

        orders = registered(registry, "json", titled("json"), "JSON")
        till.send(b"\0" + orders.to_bytes(4, "big") + b'{"n": 2}', key=b"k2")

        from confluent_kafka.schema_registry import SchemaReference

        registered(registry, "shop.OrderPlaced", ORDER)
        envelope = {
            "type": "record",
            "name": "Envelope",
            "fields": [
                {"name": "name", "type": "string"},
                {"name": "id", "type": "string"},
                {"name": "data", "type": "shop.OrderPlaced"},
            ],
        }
        reference = SchemaReference("shop.OrderPlaced", "shop.OrderPlaced", 1)
        wrapped = registered(registry, "envelope", envelope, references=[reference])
        body = b"\x18order/placed\x04e3" + b"\x06\x00"  # lengths and numbers are zigzag
        till.send(b"\0" + wrapped.to_bytes(4, "big") + body)
        await it.until(lambda: len(it.orders) == 3)
        assert [data for _, _, data in it.orders] == [
            {"n": 1, "paid": True},
            {"n": 2},
            {"n": 3, "paid": False},
        ]
        assert it.orders[2][:2] == ("e3", "e3")


async def test_a_registry_that_is_away_buries_nothing(
    registry: str, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="perdure.registry")
    async with shop(broker().url(partitions=1)) as it:
        till = Stranger(it.url)
        known = registered(registry, "outage", titled("outage"), "JSON")
        gate.shut()
        for n in range(3):
            till.send(b"\0" + known.to_bytes(4, "big") + json.dumps({"n": n}).encode())
        till.send(b'{"n": 3}', headers={"event": b"order/placed"})
        await it.until(lambda: gate.refused > 3)
        assert (it.orders, await it.letters(0), len(caplog.messages)) == ([], [], 1)
        assert "does not answer" in caplog.messages[0]
        gate.open()
        await it.until(lambda: it.numbers == [0, 1, 2, 3])
        assert await it.letters(0) == []
        assert caplog.messages[1:] == [
            "the Schema Registry answers again; the events that waited for it go on"
        ]


async def test_an_unknown_schema_is_buried_and_sent_again_when_it_is_registered(
    registry: str, gate: Gate
) -> None:
    async with shop(broker().url(partitions=2)) as it:
        till = Stranger(it.url)
        latest = registered(registry, "latest", titled("latest"), "JSON")
        soon = latest + 1
        till.send(b"\0" + soon.to_bytes(4, "big") + b'{"n": 1}', key=b"k1", partition=1)
        (letter,) = await it.letters(1)
        assert (
            letter.reason
            == f"this was written by the schema {soon}, and the Schema Registry knows no such schema"
        )
        assert registered(registry, "soon", titled("soon"), "JSON") == soon
        async with asyncio.timeout(30):
            while not it.orders:  # what it said of the id stands for a second
                await redrive(it.log, [letter])
                await asyncio.sleep(0.5)
        await redrive(it.log, [letter])
        till.send(b'{"n": 2}', headers={"event": b"order/placed"}, partition=1)
        await it.until(lambda: 2 in it.numbers)
        assert it.numbers == [1, 2], "once, however often it was sent again"
        assert it.orders[0][:2] == (letter_id(letter), "k1")


def letter_id(letter: Any) -> str:
    _, partition, offset, ts = letter.first
    return f"entry {partition}:{offset}:{ts}"


async def test_what_is_no_answer_of_a_registry_is_no_answer(
    registry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 404 of a wrong path says nothing about a schema."""
    monkeypatch.setenv("PERDURE_SCHEMA_REGISTRY_URL", registry.replace("/v7", "/v99"))
    found = schema_registry()
    assert found is not None
    with pytest.raises(LogError, match=r"the Schema Registry at http://.* says: .*404"):
        await found.fetch(1)
    found.close()


async def test_an_event_class_that_no_longer_fits_is_refused(gate: Gate, tmp_path: Path) -> None:
    url = broker().url(partitions=1)
    topic = f"{urlsplit(url).path.strip('/')}.events"
    file = tmp_path / "till.py"

    def write(*fields: str) -> None:
        lines = "\n".join(f"    {field}" for field in fields)
        file.write_text(
            "from perdure import App, Context, Event\n"
            f"app = App('shop', log={url!r})\n"
            f"class Sold(Event, name='shop/sold'):\n{lines}\n"
            "@app.function(on=Sold)\n"
            "async def sell(ctx: Context[Sold]) -> None: ...\n"
        )

    async def says(*words: str) -> tuple[int, str]:
        done = await asyncio.to_thread(perdure, *words)
        return done.returncode, done.stdout + done.stderr

    subject = f"{topic}-shop/sold"
    write("article: str")
    assert await says("schemas", "register", str(file)) == (
        0,
        f"ok: shop/sold registered, version 1 ({subject})\n",
    )
    write("article: str", "price: int = 0")
    assert await says("schemas", "check", str(file)) == (
        0,
        f"ok: shop/sold has changed, and fits what was sent by version 1 ({subject})\n",
    )
    write("article: int", "shelf: str")
    for words in (("schemas", "register", str(file)), ("worker", str(file))):
        code, said = await says(*words)
        assert code == 1, (words, said)
        assert "the field article was string, and is integer" in said
        assert "the field shelf is new and has no default" in said
        assert "Traceback" not in said


async def test_a_registry_that_is_away_keeps_no_worker_from_starting(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    url = broker().url(partitions=1)
    gate.shut()
    app = App("shop", log=url)
    done = asyncio.Event()

    class Sold(Event, name="shop/sold"):
        article: str

    @app.function(on=Sold)
    async def sell(ctx: Context[Sold]) -> None:
        done.set()

    async with app.worker():
        await app.send(Sold(article="tea"))
        async with asyncio.timeout(30):
            await done.wait()
    await app.close()
    assert any("could not be held against the Schema Registry" in line for line in caplog.messages)
