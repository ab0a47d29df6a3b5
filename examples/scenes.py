"""A scene for each file of patterns/: what is sent to it and how much time passes, on a virtual clock.

`make demo ARGS=saga` plays one and shows what is recorded, when, and how it ends. Then it plays it again and again, and
kills the worker before and after each of its writes: every life must end like the first; else the exit code is 1.

    python examples/demo.py saga
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from contextlib import chdir
from datetime import timedelta
from types import ModuleType
from typing import Any

from patterns import (
    approval,
    circuit_breaker,
    cron_catch_up,
    dead_letter,
    degradation,
    drip_campaign,
    fair_tenants,
    fan_in,
    fan_out,
    reindex,
    saga,
)
from rich.console import Console

from perdure import App
from perdure.core import payload
from perdure.core.ops import EventData, Op
from perdure.core.state import Run
from perdure.observability.observer import Observer
from perdure.testing import Environment, crash_everywhere, environment
from perdure.testing.crashing import Script


async def play_saga(env: Environment) -> None:
    await env.send(saga.TripRequested(trip="t1", city="Lisbon"))
    await env.send(saga.TripRequested(trip="t2", city="Atlantis"))


async def play_circuit_breaker(env: Environment) -> None:
    circuit_breaker.DOWN.touch()
    for number in range(1, 5):
        await env.send(circuit_breaker.PaymentDue(invoice=f"i{number}"))
    await env.advance("45s")
    circuit_breaker.DOWN.unlink()
    await env.advance("30s")
    await env.send(circuit_breaker.PaymentDue(invoice="i5"))


async def play_dead_letter(env: Environment) -> None:
    hook = dead_letter.WebhookDue(url="https://shop.example", body="paid")
    dead_letter.DOWN.touch()
    await env.send(hook)
    await env.advance("1h")
    dead_letter.DOWN.unlink()
    await env.send(dead_letter.Redrive(url=hook.url))


async def play_degradation(env: Environment) -> None:
    env.mock_step("tips", raises=TimeoutError("no answer within 1 s"))
    await env.send(degradation.PageWanted(sku="new-tea"))
    await env.advance("1s")


async def play_fan_out(env: Environment) -> None:
    await env.send(fan_out.Published(issue=7))


async def play_fan_in(env: Environment) -> None:
    await env.send(fan_in.Begun(job="j1", texts=["one two", "three", "four five six"]))


async def play_drip_campaign(env: Environment) -> None:
    for name in ("ada", "bob"):
        await env.send(drip_campaign.SignedUp(email=f"{name}@example.com"))
    await env.advance("3d")
    await env.send(drip_campaign.Bought(email="ada@example.com"))
    await env.send(drip_campaign.Unsubscribed(email="bob@example.com"))


async def play_approval(env: Environment) -> None:
    (run,) = await env.send(approval.ExpenseFiled(by="ada", cents=90000))
    await env.advance("5d")
    await run.signal("decide", {"by": "ada", "approved": True})  # it is refused
    await run.signal("decide", {"by": "bob", "approved": True})


async def play_reindex(env: Environment) -> None:
    for revision in (1, 2, 3):
        await env.send(reindex.Edited(document="d1", revision=revision))
        await env.advance("4s")
    await env.advance("10s")


async def play_fair_tenants(env: Environment) -> None:
    for number in range(1, 5):
        await env.send(fair_tenants.Uploaded(tenant="big", video=f"big-{number}"))
    await env.send(fair_tenants.Uploaded(tenant="small", video="small-1"))
    await env.advance("1m")


async def play_cron_catch_up(env: Environment) -> None:
    await env.advance("1m")
    await env.stop_worker()
    await env.advance("3m")
    await env.start_worker()
    await env.advance("10s")


SCENES: dict[str, tuple[ModuleType, Script]] = {
    "saga": (saga, play_saga),
    "circuit_breaker": (circuit_breaker, play_circuit_breaker),
    "dead_letter": (dead_letter, play_dead_letter),
    "degradation": (degradation, play_degradation),
    "fan_out": (fan_out, play_fan_out),
    "fan_in": (fan_in, play_fan_in),
    "drip_campaign": (drip_campaign, play_drip_campaign),
    "approval": (approval, play_approval),
    "reindex": (reindex, play_reindex),
    "fair_tenants": (fair_tenants, play_fair_tenants),
    "cron_catch_up": (cron_catch_up, play_cron_catch_up),
}

OF_THE_MOMENT = {"circuit_breaker"}
"""Whose runs may rightly end otherwise after a crash: what an attempt does depends on when it is made."""


# --- playing one ------------------------------------------------------------------------------------------------------


def label(function: str, event: EventData) -> str:
    """A run, by its function and the last thing that its event says."""
    data = payload.loads(event["data"])
    return f"{function} {list(data.values())[-1]}" if data else function


class Teller(Observer):
    """Says what is recorded, and how much time has passed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = 0

    def begun(self, run: Run) -> None:
        self._began = self._began or run.created

    def accepted(self, run: Run, ops: Sequence[Op], seen: int) -> None:
        self._began = self._began or run.created
        passed = timedelta(seconds=(seen - self._began) // 1_000_000)
        for name, body in ops:
            if line := told(name.removeprefix("perdure."), body):
                text = f"{passed!s:>17}  {label(run.function, run.event):<34} {line}"
                self._console.print(text, markup=False)


def told(what: str, body: dict[str, Any]) -> str:
    step = str(body.get("key", "")).partition("/")[2]
    match what:
        case "Started":
            return "begins"
        case "StepDone":
            return f"✓ {step}: {body['result'].decode()}"
        case "AttemptFailed" | "StepFailed":
            return f"✗ {step}: {body['error']['message']}"
        case "EventsSent":
            return f"→ {step}: {len(body['events'])} sent"
        case "EventGiven" | "SignalGiven":
            return f"✓ {step}: it is there"
        case "TimerFired":
            return "◷ its time is over" if step.startswith("~") else f"◷ {step}"
        case "RunDone" | "RunFailed" | "RunCancelled":
            return {"RunDone": "is done", "RunFailed": "has failed", "RunCancelled": "is cancelled"}[what]
        case "RunRestarted":
            return "begins anew"
        case _:
            return ""


async def play(name: str, console: Console) -> None:
    """Plays a scene, says how its runs have ended, and proves that crashes change nothing of it."""
    module, script = SCENES[name]
    app: App = module.app
    console.print((module.__doc__ or "").partition("\n")[0] + "\n", style="bold", markup=False)
    teller = Teller(console)
    app.observers.append(teller)
    async with environment(app) as env:
        await script(env)
        console.print("\nHow it has ended", style="bold")
        for run in env.runs():
            end = run.error["message"] if run.error else run.view.result or run.view.reason
            console.print(f"  {label(run.function, run.event)}: {run.status}  {end or ''}", markup=False)
    app.observers.remove(teller)
    if name in OF_THE_MOMENT:
        return
    report = await crash_everywhere(app, script, may_wait=True)
    console.print("\nThe proof", style="bold")
    console.print(
        f"  ✓ the worker was killed {report.crashes} times, before and after each of its {report.records} writes,\n"
        "    and every time another one brought all runs to the same end"
    )


def main(name: str) -> int:
    console = Console(highlight=False, soft_wrap=True)
    if name not in SCENES:
        console.print(f"There is no pattern {name!r}; there are: {', '.join(SCENES)}", markup=False)
        return 2
    with tempfile.TemporaryDirectory(prefix="perdure-demo-") as folder, chdir(folder):
        try:
            asyncio.run(play(name, console))
        except AssertionError as error:
            console.print(f"\n✗ {error}", style="bold red", markup=False)
            return 1
    return 0
