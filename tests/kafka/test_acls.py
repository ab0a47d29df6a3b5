"""A broker with an authorizer and SCRAM: the permissions of docs/kafka-acls.md, and what is said without one."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import Producer

from perdure import App, Context
from perdure.core.limits import DEFAULT_LIMITS
from perdure.logs import Topic, open_log
from perdure.logs.kafka import KafkaLog
from tests.crash.lives import runs_of
from tests.kafka import commands
from tests.kafka.secured import PASSWORD, Secured, allowed_by_the_page, environment, kafka, secured_broker
from tests.kafka.test_growth import led, until

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]

ONE_COPY = "?create=1"
"""On a worker's URL says that this is for development. Nothing has to be made."""
SMALL = {"snapshot_tail_bytes_min": 2_000, "history_time_max": 0}


@pytest.fixture(scope="module")
def secured() -> Iterator[Secured]:
    with secured_broker() as broker:
        yield broker


async def double(n: int) -> int:
    return 2 * n


def make_app(url: str, monkeypatch: pytest.MonkeyPatch, user: dict[str, str]) -> App:
    """An app whose connections are this user's; they are made when it is first used."""
    for name, value in user.items():
        monkeypatch.setenv(name, value)
    app = App("orders", log=url, limits=replace(DEFAULT_LIMITS, **SMALL))

    @app.function(on="order/placed")
    async def order(ctx: Context) -> int:
        n = await ctx.step.run("double", double, ctx.event.data["n"])
        await ctx.step.sleep("nap", 0.05)
        await ctx.step.send_event("tell", {"name": "order/told", "data": {"n": n}})
        return n

    @app.function(on="order/told")
    async def told(ctx: Context) -> int:
        return ctx.event.data["n"]

    return app


def perdure(user: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    done = commands.perdure(*arguments, **user)
    assert PASSWORD not in done.stdout + done.stderr
    return done


def url_of(secured: Secured, namespace: str) -> str:
    return f"kafka://{secured.servers}/{namespace}"


def test_each_kind_of_process_works_with_exactly_the_permissions_of_the_page(
    secured: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = allowed_by_the_page()
    assert set(allowed) == {"orders-worker", "orders-client", "orders-reader", "billing", "orders-admin"}
    users = {name: secured.user(name) for name in allowed}
    url = url_of(secured, "shop")
    denied = perdure(
        users["orders-admin"], "topics", "create", "--log", url, "--app", "orders", "--replication", "1"
    )
    assert (denied.returncode, "cannot be made" in denied.stderr) == (1, True), denied.stderr
    for bindings in allowed.values():
        secured.allow(bindings)

    options = ("--log", url, "--app", "orders", "--partitions")
    made = perdure(users["orders-admin"], "topics", "create", *options, "2", "--replication", "1")
    assert made.returncode == 0, made.stderr
    grown = perdure(users["orders-admin"], "topics", "grow", *options, "3")
    assert grown.returncode == 0, grown.stderr

    async def script() -> None:
        monkeypatch.setattr(
            "perdure.logs.kafka.cluster.preflight.faults_of", lambda *_a, **_k: []
        )  # one copy
        worker = make_app(url + ONE_COPY, monkeypatch, users["orders-worker"])
        async with worker.worker() as engine:
            await until(lambda: led(engine) == [0, 1, 2], "the worker leads")
            client = make_app(url, monkeypatch, users["orders-client"])
            run: Any = await client.start(client.functions.resolve("order"), {"n": 1})
            assert await run.result(timeout="20s") == 2
            assert await run.status() == "completed"
            foreign(secured, "billing", "shop.events")
            log = await opened(url)
            async with asyncio.timeout(60):
                while not await trimmed(log):
                    await client.send([{"name": "order/placed", "data": {"n": n}} for n in range(20)])
                    await asyncio.sleep(0.1)
            await until(engine.quiet, "all is done")
            runs = runs_of(engine)
            assert {run.status for run in runs} == {"completed"}
            assert any(run.event["id"] == "of-billing" for run in runs), (
                "the foreign producer's event started one"
            )
            await log.close()
            await client.close()
        await worker.close()

    asyncio.run(script())
    for command in (("runs", "list"), ("events", "list"), ("doctor",)):
        shown = perdure(users["orders-reader"], *command, "--json", "--log", f"{url}?app=orders")
        assert shown.returncode == 0, shown.stderr
        assert json.loads(shown.stdout)


async def opened(url: str) -> KafkaLog:
    log = open_log(url, "orders")
    assert isinstance(log, KafkaLog)
    await log.open()
    return log


async def trimmed(log: KafkaLog) -> bool:
    return any([(await log.bounds(Topic.JOURNAL, number))[0] > 0 for number in range(log.partitions)])


def foreign(secured: Secured, name: str, topic: str) -> None:
    """What a service does that knows nothing of perdure."""
    producer = Producer(
        {
            "bootstrap.servers": secured.servers,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": name,
            "sasl.password": PASSWORD,
        }
    )
    told: list[Any] = []
    event = {"name": "order/placed", "id": "of-billing", "data": {"n": 3}}
    producer.produce(topic, json.dumps(event).encode(), b"k", on_delivery=lambda error, _: told.append(error))
    producer.flush(20)
    assert told == [None]


def test_a_worker_that_may_not_delete_records_says_so_once_and_goes_on(
    secured: Secured, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    everything = {
        replace_names(binding): None
        for name in ("orders-worker", "orders-admin")
        for binding in allowed_by_the_page()[name]
        if binding.operation != kafka.AclOperation.DELETE
    }
    secured.allow(list(everything))
    user = secured.user("careful")
    url = url_of(secured, "careful")
    made = perdure(
        user, "topics", "create", "--log", url, "--app", "orders", "--partitions", "1", "--replication", "1"
    )
    assert made.returncode == 0, made.stderr

    async def script() -> None:
        app = make_app(url + ONE_COPY, monkeypatch, user)
        troubles: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: troubles.append(context))
        async with app.worker() as engine:
            await until(lambda: led(engine) == [0], "it leads")
            (mine,) = engine.partitions.values()
            names: set[str] = set()
            async with asyncio.timeout(60):
                while len(names) < 5:
                    await app.send([{"name": "order/placed", "data": {"n": n}} for n in range(20)])
                    await asyncio.sleep(0.05)
                    names.update(each["set"] for each in mine.state.sets)
            await until(engine.quiet, "all is done")
            log = await opened(url)
            assert (await log.bounds(Topic.JOURNAL, 0))[0] == 0, "nothing is trimmed"
            await log.close()
        await app.close()
        assert not troubles

    with caplog.at_level(logging.WARNING, "perdure.kafka"):
        asyncio.run(script())
    told = [
        record.getMessage()
        for record in caplog.records
        if "may not delete its records" in record.getMessage()
    ]
    assert sorted(line.partition(":")[0] for line in told) == [
        "careful.orders.journal",
        "careful.orders.snapshots",
    ]
    doctor = perdure(user, "doctor", "--log", url)
    assert doctor.returncode == 0, doctor.stderr
    said = " ".join(doctor.stdout.split())
    assert "careful.orders.journal: this user may not delete its records" in said
    assert "retention alone decides" in said


def replace_names(binding: Any) -> Any:
    """The same for the user and the namespace `careful`."""
    return type(binding)(
        binding.restype,
        binding.name.replace("shop", "careful"),
        binding.resource_pattern_type,
        "User:careful",
        binding.host,
        binding.operation,
        binding.permission_type,
    )


def test_a_wrong_password_is_told_and_never_shown(secured: Secured) -> None:
    secured.user("guest")
    wrong = environment("guest", PASSWORD + "-not")
    shown = perdure(
        wrong, "topics", "check", "--log", url_of(secured, "shop"), "--app", "x"
    )  # looks for the password
    assert shown.returncode == 1
    assert "does not let this user in (" in shown.stderr, shown.stderr
    assert "PERDURE_KAFKA_SASL_PASSWORD" not in shown.stderr
    assert "…_SASL_PASSWORD" in shown.stderr
