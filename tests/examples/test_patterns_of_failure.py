"""The patterns for what fails: saga, circuit breaker, dead letter, degradation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from examples.scenes import circuit_breaker, dead_letter, degradation, saga
from perdure.testing import Environment, TestRun, environment


@pytest.fixture(autouse=True)
def folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the outages are: `touch bank-is-down`."""
    monkeypatch.chdir(tmp_path)


def steps(run: TestRun[Any]) -> list[str]:
    return [step.id for step in run.steps]


def results(env: Environment, function: str) -> list[Any]:
    return [run.view.result for run in env.runs(function)]


# --- saga -------------------------------------------------------------------------------------------------------------

TRIP = saga.TripRequested(trip="t1", city="Lisbon")


@pytest.mark.asyncio
async def test_saga_books_all_and_undoes_nothing() -> None:
    async with environment(saga.app) as env:
        [run] = await env.send(TRIP)
        assert run.result == ["flight of t1", "hotel of t1", "car of t1"]
        assert steps(run) == ["book-flight", "book-hotel", "book-car"]


@pytest.mark.asyncio
async def test_saga_undoes_in_reverse_what_was_done_and_fails_with_the_reason() -> None:
    async with environment(saga.app) as env:
        env.mock_step("book-car", raises=saga.NonRetriableError("no cars left"))
        [run] = await env.send(TRIP)
        assert run.status == "failed"
        assert run.error is not None
        assert run.error["message"] == "no cars left"
        assert steps(run)[3:] == ["cancel-car", "cancel-hotel", "cancel-flight"]


@pytest.mark.asyncio
async def test_saga_does_not_give_up_a_compensation() -> None:
    async with environment(saga.app) as env:
        env.mock_step("cancel-flight", raises=ConnectionError("down"))
        [run] = await env.send(saga.TripRequested(trip="t2", city="Atlantis"))
        await env.advance("10h")
        assert (run.status, run.step("cancel-flight").status) == ("running", "retrying")
        env.mock_step("cancel-flight", returns="cancelled at last")
        await env.advance("1h")
        assert run.status == "failed"
        assert run.step("cancel-flight").output == "cancelled at last"


@pytest.mark.asyncio
async def test_saga_is_compensated_when_it_is_cancelled_and_not_when_its_worker_leaves() -> None:
    async with environment(saga.app) as env:
        env.mock_step("book-hotel", raises=ConnectionError("down"))
        [run] = await env.send(TRIP)
        await env.stop_worker()
        await env.start_worker()
        assert steps(run) == ["book-flight", "book-hotel"]
        await run.cancel()
        assert run.status == "cancelled"
        assert [step for step in steps(run) if step.startswith("cancel")] == ["cancel-hotel", "cancel-flight"]


# --- circuit breaker --------------------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the bank was asked for."""
    calls: list[str] = []

    def ask_bank(what: str) -> str:
        calls.append(what)
        if circuit_breaker.DOWN.exists():
            raise ConnectionError("the bank does not answer")
        return f"done: {what}"

    monkeypatch.setattr(circuit_breaker, "ask_bank", ask_bank)
    return calls


async def pays(env: Environment, *invoices: str) -> list[Any]:
    for invoice in invoices:
        await env.send(circuit_breaker.PaymentDue(invoice=invoice))
    return [run.view.result for run in env.runs(circuit_breaker.pay)]


def circuit_of(env: Environment) -> Any:
    [run] = env.runs(circuit_breaker.circuit)
    return run.values["state"]


@pytest.mark.asyncio
async def test_circuit_breaker_asks_no_more_once_it_is_open(asked: list[str]) -> None:
    circuit_breaker.DOWN.touch()
    async with environment(circuit_breaker.app) as env:
        said = await pays(env, "1", "2", "3", "4", "5")
        assert len(asked) == 3
        assert sorted(said) == [
            *3 * ["to be paid by hand: the bank does not answer"],
            *2 * ["to be paid by hand: the circuit is open"],
        ]
        assert circuit_of(env) == "open"


@pytest.mark.asyncio
async def test_circuit_breaker_probes_by_itself_and_closes_when_the_bank_is_back(asked: list[str]) -> None:
    circuit_breaker.DOWN.touch()
    async with environment(circuit_breaker.app) as env:
        await pays(env, "1", "2", "3")
        await env.advance("29s")
        assert len(asked) == 3
        await env.advance("10m")
        assert set(asked[3:]) == {"nothing"}
        assert circuit_of(env) == "open"

        circuit_breaker.DOWN.unlink()
        await env.advance("40s")
        assert circuit_of(env) == "closed"
        assert "done: the charge of 4" in await pays(env, "4")


@pytest.mark.asyncio
async def test_circuit_breaker_stays_closed_when_failures_are_rare(asked: list[str]) -> None:
    circuit_breaker.DOWN.touch()
    async with environment(circuit_breaker.app) as env:
        for number in range(5):
            await pays(env, str(number))
            await env.advance("2m")
        assert len(asked) == 5
        assert circuit_of(env) == "closed"


@pytest.mark.asyncio
async def test_circuit_breaker_is_still_open_for_the_next_worker(asked: list[str]) -> None:
    circuit_breaker.DOWN.touch()
    async with environment(circuit_breaker.app) as env:
        await pays(env, "1", "2", "3")
        await env.crash_worker()
        await env.start_worker()
        assert "to be paid by hand: the circuit is open" in await pays(env, "4")
        assert len(asked) == 3


# --- dead letter ------------------------------------------------------------------------------------------------------


def hook(url: str = "https://a.example") -> dead_letter.WebhookDue:
    return dead_letter.WebhookDue(url=url, body="paid")


@pytest.mark.asyncio
async def test_dead_letter_is_not_written_for_what_arrives_after_a_retry() -> None:
    async with environment(dead_letter.app) as env:
        dead_letter.DOWN.touch()
        [run] = await env.send(hook())
        dead_letter.DOWN.unlink()
        await env.advance("5s")
        assert run.result == "https://a.example has 'paid'"
        assert env.runs(dead_letter.keep_letter) == []


@pytest.mark.asyncio
async def test_dead_letter_waits_until_its_url_is_redriven() -> None:
    async with environment(dead_letter.app) as env:
        dead_letter.DOWN.touch()
        await env.send([hook(), hook("https://b.example")])
        await env.advance("1m")
        assert results(env, "deliver") == ["put aside", "put aside"]
        dead_letter.DOWN.unlink()

        await env.advance("20d")
        await env.send(dead_letter.Redrive(url="https://a.example"))
        assert sorted(results(env, "keep-letter"), key=str) == [None, "sent again"]
        assert "https://a.example has 'paid'" in results(env, "deliver")
        assert "https://b.example has 'paid'" not in results(env, "deliver")

        await env.advance("10d")
        assert sorted(results(env, "keep-letter")) == ["given up", "sent again"]


# --- graceful degradation ---------------------------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_degradation_has_all_parts_when_all_are_there() -> None:
    async with environment(degradation.app) as env:
        [run] = await env.send(degradation.PageWanted(sku="tea"))
        assert run.result.model_dump() == {
            "cents": 300,
            "reviews": ["tea is good"],
            "tips": ["more tea"],
            "without": [],
        }


@pytest.mark.asyncio
async def test_degradation_goes_out_without_what_fails_and_says_so() -> None:
    async with environment(degradation.app) as env:
        env.mock_step("reviews", raises=ConnectionError("down"))
        [run] = await env.send(degradation.PageWanted(sku="tea"))
        await env.advance("1s")
        assert run.result.reviews == []
        assert run.result.tips == ["more tea"]
        assert run.result.without == ["reviews"]
        assert run.step("reviews").attempts == 2


@pytest.mark.asyncio
async def test_degradation_waits_for_the_price() -> None:
    async with environment(degradation.app) as env:
        env.mock_step("price", raises=ConnectionError("down"))
        [run] = await env.send(degradation.PageWanted(sku="tea"))
        await env.advance("10m")
        assert run.status == "running"
        env.mock_step("price", returns=450)
        await env.advance("1h")
        assert run.result.cents == 450
