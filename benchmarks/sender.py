"""An open loop: events are sent when their time has come, however late the ones before them are.

The times are those of a schedule, kept by a thread of its own. Whoever waits for an answer before it sends the next one
sends fewer when the answers are late, and never sees the worst (coordinated omission); this one does not wait.

As a script it is a sender in a process of its own: `sender.py URL NAME RATE COUNT`, through `app.send`, or as a foreign
producer, which knows Kafka's client and nothing of perdure. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from asyncio.subprocess import PIPE
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter_ns, sleep
from urllib.parse import urlsplit

from perdure import App
from perdure.errors import LogError

THIS = str(Path(__file__).resolve())
LEAD_NS = 200_000_000
LINE_BYTES_MAX = 64 * 1024 * 1024
FLUSH_S = 30.0


@dataclass
class Sent:
    """What was sent; all times in ns of the machine's clock, which all of its processes share."""

    due: list[int] = field(default_factory=list[int])
    """When each was to be sent."""
    began: list[int] = field(default_factory=list[int])
    """When it was."""
    accepted: list[int] = field(default_factory=list[int])
    """When the log had taken it; 0: it has not."""
    refused: dict[str, int] = field(default_factory=dict[str, int])
    """How many were not taken, by reason."""


def schedule(send: Callable[[int], object], sent: Sent, rate: float, count: int) -> None:
    """Calls `send` for each event when it is due."""
    begin = perf_counter_ns() + LEAD_NS
    sent.due = [begin + int(number * 1e9 / rate) for number in range(count)]
    sent.began, sent.accepted = [0] * count, [0] * count
    for number, due in enumerate(sent.due):
        if (left := due - perf_counter_ns()) > 0:
            sleep(left / 1e9)
        send(number)


async def through_app(app: App, name: str, rate: float, count: int) -> Sent:
    """Sends with `app.send`."""
    loop, sent = asyncio.get_running_loop(), Sent()
    tasks: set[asyncio.Task[None]] = set()

    async def one(number: int) -> None:
        sent.began[number] = perf_counter_ns()
        try:
            await app.send(name, {"number": number})
        except LogError as error:
            sent.refused[error.code] = sent.refused.get(error.code, 0) + 1
        else:
            sent.accepted[number] = perf_counter_ns()

    def begin(number: int) -> None:
        tasks.add(loop.create_task(one(number)))

    await asyncio.to_thread(
        schedule, lambda number: loop.call_soon_threadsafe(begin, number), sent, rate, count
    )
    await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    return sent


def as_a_stranger(url: str, name: str, rate: float, count: int) -> Sent:
    """Produces to the topic of events, as a service does that knows nothing of perdure."""
    from confluent_kafka import Producer

    parts = urlsplit(url)
    producer = Producer(
        {"bootstrap.servers": parts.netloc, "acks": "all", "enable.idempotence": True, "linger.ms": 0}
    )
    topic, sent, over = f"{parts.path.strip('/')}.events", Sent(), threading.Event()

    def hear() -> None:
        while not over.is_set():
            producer.poll(0.05)

    def send(number: int) -> None:
        def delivered(error: object, _message: object) -> None:
            if error is None:
                sent.accepted[number] = perf_counter_ns()
            else:
                sent.refused[str(error)] = sent.refused.get(str(error), 0) + 1

        sent.began[number] = perf_counter_ns()
        value = json.dumps({"name": name, "data": {"number": number}, "id": f"stranger-{number}"})
        producer.produce(topic, key=str(number), value=value, on_delivery=delivered)

    hearing = threading.Thread(target=hear)
    hearing.start()
    try:
        schedule(send, sent, rate, count)
        producer.flush(FLUSH_S)
    finally:
        over.set()
        hearing.join()
    return sent


async def from_afar(url: str, name: str, rate: float, count: int) -> Sent:
    """Sends from a process of its own: a foreign producer where the log is on Kafka, else a client."""
    words = (sys.executable, THIS, url, name, str(rate), str(count))
    process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, limit=LINE_BYTES_MAX)
    said, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError("the sender has failed; what it said is above")
    return Sent(**json.loads(said))


async def serve(url: str, name: str, rate: float, count: int) -> Sent:
    app = App("bench", log=url)
    try:
        await app.send("bench/warm", {})
        return await through_app(app, name, rate, count)
    finally:
        await app.close()


def main() -> None:
    url, name, rate, count = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    sent = as_a_stranger(url, name, rate, count) if url.startswith("kafka:") else None
    print(json.dumps(asdict(sent or asyncio.run(serve(url, name, rate, count)))))


if __name__ == "__main__":
    main()
