"""`perdure topics`, and what opening a log says about its topics, on a real broker."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from urllib.parse import urlsplit

import pytest

from perdure import App, Context, LogError
from perdure.logs.kafka import KafkaLog, KafkaSettings, admin
from perdure.testing.log_contract import Recorder
from tests.brokers import broker
from tests.kafka.commands import perdure

pytestmark = pytest.mark.kafka


@pytest.fixture
def url() -> str:
    return f"kafka://{urlsplit(broker().url()).netloc}/test-{uuid.uuid4().hex[:12]}"


def test_topics_are_made_once_and_checked(url: str) -> None:
    nothing = perdure("topics", "check", "--log", url)
    assert (nothing.returncode, "has no app yet" in nothing.stderr) == (1, True), nothing.stderr
    made = perdure(
        "topics", "create", "--log", url, "--app", "shop", "--partitions", "3", "--replication", "1"
    )
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("made: ") == 6
    assert ".shop.journal (3 partitions)" in made.stdout
    again = perdure(
        "topics", "create", "--log", url, "--app", "shop", "--partitions", "3", "--replication", "1"
    )
    assert "there already" in again.stdout
    more = perdure(
        "topics", "create", "--log", url, "--app", "shop", "--partitions", "4", "--replication", "1"
    )
    assert more.returncode == 2
    assert "has 3 partitions already" in more.stderr

    copies = perdure("topics", "create", "--log", url, "--app", "other")
    assert copies.returncode == 2
    assert "3 copies need as many brokers" in copies.stderr
    assert "--replication 1" in copies.stderr

    unsafe = perdure("topics", "check", "--log", url, "--json")
    assert unsafe.returncode == 1
    sentences = {fault["topic"].split(".", 1)[1]: fault["sentence"] for fault in json.loads(unsafe.stdout)}
    assert set(sentences) == {"events", "shop.journal", "shop.registry", "shop.snapshots"}
    assert all("has one copy" in sentence for sentence in sentences.values())
    safe = perdure("topics", "check", "--log", f"{url}?create=3")
    assert (safe.returncode, safe.stdout) == (0, "ok: all topics are there, and safe to run on\n"), (
        safe.stdout
    )


def test_a_log_of_another_kind_has_no_topics() -> None:
    refused = perdure("topics", "check", "--log", "sqlite:///x.db")
    assert refused.returncode == 2
    assert "has no topics" in refused.stderr


def test_a_worker_refuses_topics_that_could_lose_runs(url: str) -> None:
    parts = urlsplit(url)
    log = KafkaLog(KafkaSettings(parts.netloc, parts.path.strip("/"), "shop"))

    async def opening() -> None:
        with pytest.raises(LogError, match=r"Make its topics: perdure topics create .* --app shop"):
            await log.open()
        await log.make_topics(2, replication=1)
        await log.open()  # to look at it is no risk
        with pytest.raises(LogError, match=r"not safe to run on:\n.*has one copy"):
            await log.member(Recorder()).join()
        await log.close()

    asyncio.run(opening())


@pytest.mark.parametrize(
    ("servers", "why"),
    [("127.0.0.1:1", "Connection refused"), ("no-such-host.invalid:9092", "Failed to resolve")],
)
def test_no_broker_is_told_with_its_reason_and_what_to_look_at(
    servers: str, why: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admin, "ANSWER_S", 2.0)
    monkeypatch.setattr(admin, "_NOTICE_S", 0.5)

    async def opening() -> None:
        log = KafkaLog(KafkaSettings(servers, "shop", "orders"))
        with pytest.raises(LogError, match=rf"no broker answers at kafka://{servers}/shop \(.*{why}.*\): is"):
            await log.open()

    asyncio.run(opening())
    assert re.search(rf"answers at kafka://{servers}/shop yet \(.*{why}.*\); it may be starting", caplog.text)


@pytest.mark.parametrize("ever", [True, False], ids=["late", "never"])
def test_topics_that_a_busy_broker_does_not_show_yet_are_waited_for(
    url: str, ever: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(admin, "_NOTICE_S", 0.1)
    monkeypatch.setattr(admin, "_SEEN_S", 5.0 if ever else 0.3)
    shown = admin.Admin.partitions

    def late(self: admin.Admin, names: Sequence[str]) -> dict[str, int]:
        return shown(self, names) if ever and "not yet to be seen there" in caplog.text else {}

    monkeypatch.setattr(admin.Admin, "partitions", late)

    async def making() -> None:
        parts = urlsplit(url)
        log = KafkaLog(KafkaSettings(parts.netloc, parts.path.strip("/"), "shop"))
        with nullcontext() if ever else pytest.raises(LogError, match=r"made at .* 0\.3 s: .*shop\.journal"):
            await log.make_topics(2, replication=1)
        await log.close()

    asyncio.run(making())
    assert caplog.text.count("not yet to be seen there") == 1


def test_a_broker_that_lets_nobody_in_is_told_at_once(url: str, caplog: pytest.LogCaptureFixture) -> None:
    where = urlsplit(url)
    options = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN"}
    secret = {"sasl.username": "ada", "sasl.password": "swordfish"}

    async def opening() -> None:
        log = KafkaLog(KafkaSettings(where.netloc, where.path[1:], "orders", options | secret))
        with pytest.raises(LogError, match=r"does not let this user in \(.*SASL.*PERDURE_KAFKA_") as raised:
            await log.open()
        assert "swordfish" not in str(raised.value)

    asyncio.run(opening())
    assert caplog.text == ""


def test_two_apps_share_the_events_of_a_namespace_and_nothing_else(url: str) -> None:
    """A12."""
    seen: list[tuple[str, str]] = []

    def app(name: str) -> App:
        made = App(name, log=f"{url}?create=1")

        @made.function(on="order/placed")
        async def order(ctx: Context) -> None:
            await ctx.step.send_event("tell", {"name": "order/seen", "data": {"by": name}})

        @made.function(on="order/seen")
        async def told(ctx: Context) -> None:
            seen.append((name, ctx.event.data["by"]))

        return made

    async def both() -> None:
        orders, bills = app("orders"), app("bills")
        async with orders.worker(), bills.worker():
            await orders.send("order/placed", {"n": 1})
            async with asyncio.timeout(30):
                while len(seen) < 4:
                    await asyncio.sleep(0.02)
        for each in (orders, bills):
            await each.close()

    asyncio.run(both())
    names = ("bills", "orders")
    assert sorted(seen) == [(to, by) for to in names for by in names], "each hears of both, and once"
    shown = perdure("runs", "list", "--log", f"{url}?app=bills", "--json")
    assert sorted(run["function"] for run in json.loads(shown.stdout)) == ["order", "told", "told"]
    which = perdure("runs", "list", "--log", url)
    assert which.returncode == 2
    assert "has the apps bills, orders: say which" in which.stderr
