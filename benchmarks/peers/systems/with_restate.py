"""Restate: its server beside this process, which has the service (hypercorn, HTTP/2) and the client (the ingress)."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from importlib.metadata import version

import httpx
import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config
from measuring import FANOUT, arguments, measured, report, run

bench = restate.Service("Bench")


async def plus(number: int) -> int:
    return number + 1


async def total(numbers: list[int]) -> int:
    return sum(numbers)


@bench.handler()
async def one(ctx: restate.Context) -> int:
    return await ctx.run_typed("one", plus, number=0)


@bench.handler()
async def three(ctx: restate.Context) -> int:
    number = await ctx.run_typed("one", plus, number=0)
    number = await ctx.run_typed("two", plus, number=number)
    return await ctx.run_typed("three", plus, number=number)


@bench.handler()
async def fanned(ctx: restate.Context) -> int:
    parts = [ctx.run_typed("part", plus, number=number) for number in range(FANOUT)]
    await restate.gather(*parts)
    return await ctx.run_typed("reduce", total, numbers=[await part for part in parts])


def register(admin: str, service: str) -> None:
    """Tells the server where the service is."""
    body = json.dumps({"uri": service}).encode()
    request = urllib.request.Request(
        f"{admin}/deployments", body, {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=30):
        pass


async def main() -> None:
    args = arguments()
    ingress, admin = args.url.split(",")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.h2_max_concurrent_streams = 2_000
    over = asyncio.Event()
    serving = asyncio.create_task(serve(restate.app([bench]), config, shutdown_trigger=over.wait))  # type: ignore[arg-type]
    await asyncio.sleep(0.5)
    await asyncio.to_thread(register, admin, f"http://127.0.0.1:{port}")
    limits = httpx.Limits(max_connections=250, max_keepalive_connections=250)
    async with httpx.AsyncClient(base_url=ingress, limits=limits, timeout=60) as client:

        def once(handler: str):
            async def called() -> int:
                answer = await client.post(f"/Bench/{handler}")
                answer.raise_for_status()
                return answer.json()

            return called

        runs = {"W1": once("one"), "W2": once("three"), "W3": once("fanned")}
        cells = await measured(runs, quick=args.quick)
    over.set()
    await serving
    report(version("restate-sdk"), "its server (Rust) and one process for service and client", cells)


if __name__ == "__main__":
    run(main())
