"""Services that know nothing of perdure: plain clients of Kafka. And an app that tells what it was given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import Producer

from perdure import App, Context
from perdure.client.letters import Letter, dead_letters
from perdure.logs.contract import Log, Topic

PATIENCE_S = 30.0


class Shop:
    """An app with a worker in this process; `orders` has each run's event, in the order in which runs began."""

    def __init__(self, url: str, log: Log) -> None:
        self.url = url
        self.orders: list[tuple[str, str, dict[str, Any]]] = []
        self.log = log

    async def until(self, what: Callable[[], bool]) -> None:
        """Returns when it has become true. Fails, with what is there, when it does not."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not what():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            letters = [letter.reason for letter in await dead_letters(self.log)]
            raise AssertionError(f"it has {self.orders}, and buried {letters}") from None

    async def letters(self, count: int) -> list[Letter]:
        """The dead letters, once there are so many."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                letters = await dead_letters(self.log)
                if len(letters) >= count:
                    return letters
                await asyncio.sleep(0.05)

    @property
    def numbers(self) -> list[int]:
        """The `n` of each order."""
        return [data["n"] for _, _, data in self.orders]


def shop_app(url: str, orders: list[tuple[str, str, dict[str, Any]]]) -> App:
    app = App("shop", log=url)

    @app.function(on="order/placed")
    async def order(ctx: Context) -> None:
        orders.append((ctx.event.id, ctx.event.key, ctx.event.data))

    return app


@asynccontextmanager
async def shop(url: str) -> AsyncGenerator[Shop]:
    """The app at work on a log."""
    orders: list[tuple[str, str, dict[str, Any]]] = []
    app = shop_app(url, orders)
    try:
        async with app.worker():
            made = Shop(url, (await app._connect().get()).log)
            made.orders = orders
            yield made
    finally:
        await app.close()


class Stranger:
    """A producer of another service."""

    def __init__(self, url: str, **config: Any) -> None:
        parts = urlsplit(url)
        self.topic = f"{parts.path.strip('/')}.{Topic.EVENTS.value}"
        self.client = Producer({"bootstrap.servers": parts.netloc, "log_level": 0, "linger.ms": 0, **config})

    def send(
        self,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Mapping[str, bytes] | None = None,
        partition: int = 0,
    ) -> None:
        """Sends, and returns when the broker has it."""
        failures: list[object] = []

        def delivered(error: object, _message: object) -> None:
            if error is not None:
                failures.append(error)

        self.client.produce(
            self.topic,
            value=value,
            key=key,
            headers=list((headers or {}).items()),
            partition=partition,
            on_delivery=delivered,
        )
        assert self.client.flush(PATIENCE_S) == 0
        assert not failures
