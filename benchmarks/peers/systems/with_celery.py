"""Celery on Redis: a client here, and a worker of two processes that this starts. A chain is W2, a chord is W3.

It makes less durable than the others do: no step of a chain is remembered, and Redis flushes its file once a second.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from importlib.metadata import version
from time import perf_counter, perf_counter_ns
from typing import Any

from celery import Celery, chain, chord
from measuring import FANOUT, FULL, IN_FLIGHT, QUICK, RIGHT, alone, arguments, crowd, report
from timing import Sample

url = os.environ.get("PEERS_REDIS", "redis://127.0.0.1:6379/0")
app = Celery("with_celery", broker=url, backend=url)
app.conf.update(task_acks_late=True, worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)
WAIT_S = 60


@app.task(ignore_result=True)
def passed_on(number: int) -> int:
    return number + 1


@app.task
def plus(number: int) -> int:
    return number + 1


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


def one() -> Any:
    return plus.delay(0)


def three() -> Any:
    return chain(passed_on.s(0), passed_on.s(), plus.s()).delay()


def fanned() -> Any:
    return chord(plus.s(number) for number in range(FANOUT))(total.s())


def timed(start: Any, runs: int, in_flight: int, seconds: float) -> Sample:
    """As `timing.timed`, for a client that blocks: so many are under way, and the oldest is waited for."""
    sample, under_way = Sample(), deque[tuple[int, Any]]()
    began = perf_counter()
    for _ in range(runs):
        under_way.append((perf_counter_ns(), start()))
        if len(under_way) >= in_flight:
            _await_oldest(under_way, sample)
        if perf_counter() - began > seconds:
            break
    while under_way:
        _await_oldest(under_way, sample)
    sample.wall = perf_counter() - began
    sample.latencies.sort()
    return sample


def _await_oldest(under_way: deque[tuple[int, Any]], sample: Sample) -> None:
    at, result = under_way.popleft()
    result.get(timeout=WAIT_S)
    sample.latencies.append(perf_counter_ns() - at)


def measured(*, quick: bool) -> dict[str, Any]:
    size = QUICK if quick else FULL
    cells: dict[str, Any] = {}
    for workload, start in {"W1": one, "W2": three, "W3": fanned}.items():
        assert start().get(timeout=WAIT_S) == RIGHT[workload]
        timed(start, size.warm_up, 1, size.seconds)
        cells[workload] = alone(workload, timed(start, size.runs, 1, size.seconds))
    timed(three, size.in_flight, size.in_flight, size.seconds)
    cells[f"W2x{IN_FLIGHT}"] = crowd("W2", timed(three, size.crowd, size.in_flight, size.seconds))
    return cells


def main() -> None:
    args = arguments()
    words = ["-A", "with_celery", "worker", "--concurrency", "2", "--loglevel", "ERROR"]
    words += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", *words],
        env=os.environ | {"PEERS_REDIS": args.url},
        stdout=subprocess.DEVNULL,
    )
    app.conf.update(broker_url=args.url, result_backend=args.url)
    try:
        cells = measured(quick=args.quick)
    finally:
        worker.terminate()
        worker.wait(30)
    setting = "a worker of two processes; Redis, appendfsync everysec, acks late; steps are not remembered"
    report(version("celery"), setting, cells)


if __name__ == "__main__":
    main()
