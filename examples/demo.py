"""A durable function, and a worker that is killed in the middle of it: what `make demo` runs.

The function is the order of orders.py. A worker process runs it and is killed twice with SIGKILL, once in the middle of
charging a card and once between two steps. Each time another worker goes on. In the end the books are opened: what did
the outside world see? The exit code is 0 when it saw what is promised.

    python examples/demo.py

With a name it plays one of patterns/ instead: `python examples/demo.py saga`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence

import scenes
from fakes import ledger, payments
from orders import Order, OrderPlaced, ParcelDelivered, app, process_order
from rich.console import Console

from perdure import PerdureError
from perdure.core.ops import Op
from perdure.core.state import Run
from perdure.observability.observer import Observer

PATIENCE_S = 60
ORDER = OrderPlaced(
    order_id="order-42", email="ada@example.com", card="card-of-ada", cents=4200, skus=["tea", "cup", "pot"]
)
WANTED = Counter({"warehouse reserve": 1, "warehouse pack": 3, "warehouse ship": 1, "mail send": 2})
"""The calls of the steps that were not interrupted."""

LEFT = ([-9, -9, 0], [-9, -9, 128 + signal.SIGTERM])
"""The exit codes of the workers; the third may be told to leave before its start is complete."""


# --- in the worker's process ------------------------------------------------------------------------------------------


class Narrator(Observer):
    """Says on stdout, as JSON lines, what the worker does, and what is recorded."""

    def begun(self, run: Run) -> None:
        self.say("begins", run)

    def woken(self, run: Run) -> None:
        self.say("goes on", run)

    def attempt(self, run: Run, key: str, number: int) -> None:
        self.say("attempts", run, key)

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        for name, body in ops:
            self.say(name.removeprefix("perdure."), run, body.get("key", ""), body.get("event"))

    def say(self, what: str, run: Run, key: str = "", event: object = None) -> None:
        about = event if isinstance(event, str) else ""
        line = {"what": what, "function": run.function, "step": key.partition("/")[2], "about": about}
        print(json.dumps(line), flush=True)


def be_worker() -> int:
    app.observers.append(Narrator())
    return app.run_worker()


# --- in the demo's process --------------------------------------------------------------------------------------------


class Stage:
    """What the viewer sees: colours on a terminal, plain lines elsewhere."""

    def __init__(self) -> None:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        self._console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()

    def say(self, text: str = "", style: str = "") -> None:
        self._console.print(text, style=style, markup=False)

    def chapter(self, text: str) -> None:
        self.say(f"\n{text}", "bold")

    def act(self, who: str, text: str, style: str = "") -> None:
        self.say(f"{time.monotonic() - self._began:6.2f} s  {who:<9} {text}", style)

    def worker_did(self, who: str, line: dict[str, str]) -> None:
        function, step, what = line["function"], line["step"], line["what"]
        match what:
            case "begins":
                self.act(who, f"{function} begins", "dim")
            case "goes on":
                self.act(who, f"{function} goes on over its record", "cyan")
            case "attempts":
                self.act(who, f"  … {step}", "dim")
            case "StepDone":
                self.act(who, f"  ✓ {step}", "green")
            case "ChildEnded":
                self.act(who, f"  ✓ {step} (an invoked function)", "green")
            case "WaitOpened":
                self.act(who, f"  … {step}: waits for {line['about']}, up to 14 days", "cyan")
            case "EventGiven":
                self.act(who, f"  ✓ {step}: the event is there", "green")
            case "RunDone":
                self.act(who, f"{function} is done", "bold green")
            case _:
                pass


class Worker:
    """A worker in a process of its own."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, stage: Stage) -> None:
        self.name = name
        self.heard: list[str] = []
        self._process = process
        self._stage = stage
        self._listener = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, number: int, stage: Stage) -> Worker:
        command = (sys.executable, __file__, "worker")
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        stage.act("demo", f"starts worker {number}, process {process.pid}")
        return cls(f"worker {number}", process, stage)

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            line = json.loads(text)
            self.heard.append(line["what"])
            self._stage.worker_did(self.name, line)

    def check(self) -> None:
        """Raises RuntimeError when the worker ended by itself."""
        if self._process.returncode is not None:
            raise RuntimeError(f"{self.name} ended by itself, with code {self._process.returncode}")

    async def kill(self) -> int:
        """Kills it, without a chance to say goodbye; its exit code."""
        self._process.kill()
        return await self._ended()

    async def stop(self) -> int:
        """Asks it to leave in good order; its exit code."""
        self._process.terminate()
        return await self._ended()

    async def _ended(self) -> int:
        code = await self._process.wait()
        await self._listener
        return code

    async def close(self) -> None:
        if self._process.returncode is None:
            await self.kill()


async def play(stage: Stage, workers: list[Worker]) -> tuple[Order, list[int]]:
    """The three acts: what the order came to, and how the workers ended."""
    codes: list[int] = []

    async def start() -> Worker:
        worker = await Worker.start(len(workers) + 1, stage)
        workers.append(worker)
        return worker

    stage.chapter("1. An order comes in. The payment provider takes the money, and its answer is slow.")
    ledger.trouble("payments", "charge", kind="slow")
    worker = await start()
    run = await app.start(process_order, ORDER, id=ORDER.order_id)
    stage.act("demo", f"sent {ORDER.order_id}")
    await until(worker, lambda: bool(payments.charges()))
    codes.append(await worker.kill())
    stage.act("demo", "kill -9: the card is charged, and nobody has recorded it", "bold red")

    stage.chapter("2. Another worker takes over. What is recorded stays; the interrupted step runs again.")
    worker = await start()
    await until(worker, lambda: "WaitOpened" in worker.heard)
    codes.append(await worker.kill())
    stage.act("demo", "kill -9: between two steps, while the order waits", "bold red")

    stage.chapter("3. Nobody is at home when the parcel arrives. A third worker finds the event in the log.")
    await app.send(ParcelDelivered(order_id=ORDER.order_id))
    stage.act("demo", "sent parcel/delivered to a log that no worker reads")
    worker = await start()
    order = await run.result(timeout=PATIENCE_S)
    codes.append(await worker.stop())
    return order, codes


async def until(worker: Worker, happened: Callable[[], bool]) -> None:
    """Returns once something has happened. Raises RuntimeError when the worker ends instead."""

    def look() -> bool:
        worker.check()
        return happened()

    await ledger.until(look, seconds=PATIENCE_S)


def prove(stage: Stage, order: Order, codes: list[int]) -> bool:
    """Holds the books of the outside world against the promises."""
    calls = ledger.calls()
    charges = [call for call in calls if call.action == "charge"]
    others = Counter(f"{call.system} {call.action}" for call in calls if call.action != "charge")

    stage.chapter("The books of the outside world")
    for name, count in sorted(Counter(f"{call.system} {call.action}" for call in calls).items()):
        effects = len({call.effect for call in calls if f"{call.system} {call.action}" == name})
        stage.say(
            f"  {name:<20} {count} call{'s' if count > 1 else ' '}  {effects} effect{'s' * (effects > 1)}"
        )
    for call in charges:
        stage.say(f"  the charge in process {call.pid}: idempotency key {call.key}", "dim")

    stage.chapter("The proof")
    claims = {
        "two workers were killed, the third left when it was told to": codes in LEFT,
        "the order was delivered": order.status == "delivered",
        "the interrupted step ran again, in another process": len({call.pid for call in charges}) == 2,
        "with the same idempotency key": len(charges) == 2 and len({call.key for call in charges}) == 1,
        "so the card was charged once": [charge.cents for charge in payments.charges()] == [ORDER.cents],
        "every other step ran once": others == WANTED,
    }
    for claim, holds in claims.items():
        stage.say(f"  {'✓' if holds else '✗'} {claim}", "green" if holds else "bold red")
    return all(claims.values())


async def demo(stage: Stage) -> bool:
    workers: list[Worker] = []
    try:
        async with asyncio.timeout(PATIENCE_S):
            return prove(stage, *await play(stage, workers))
    except (PerdureError, RuntimeError, TimeoutError) as error:
        stage.say(f"\n✗ {type(error).__name__}: {error or 'nothing happened for too long'}", "bold red")
        return False
    finally:
        for worker in workers:
            await worker.close()
        await app.close()


def main() -> int:
    if sys.argv[1:] == ["worker"]:
        return be_worker()
    if sys.argv[1:]:
        return scenes.main(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="perdure-demo-") as folder:
        os.environ["PERDURE_LOG"] = f"sqlite:///{folder}/log.db"
        os.environ[ledger.FOLDER] = folder
        return 0 if asyncio.run(demo(Stage())) else 1


if __name__ == "__main__":
    sys.exit(main())
