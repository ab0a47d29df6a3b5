"""examples/payments.py: a good card, a bad one, and a provider that is down."""

from __future__ import annotations

import pytest

from examples.payments import Invoice, PaymentDue, Receipt, app, invoices, ledger, mail, payments
from perdure.testing import environment

GOOD = Invoice("1", "ada@example.com", "card-of-ada", 4200)
BAD = Invoice("2", "bob@example.com", payments.DECLINED, 900)


@pytest.fixture(autouse=True)
def written() -> None:
    invoices.write(GOOD)
    invoices.write(BAD)


@pytest.mark.asyncio
async def test_a_payment_is_charged_and_receipted() -> None:
    async with environment(app) as env:
        [run] = await env.send(PaymentDue(invoice_id="1"))
        [charge] = payments.charges()
        assert isinstance(run.result, Receipt)
        assert (run.result.charge_id, run.result.cents) == (charge.id, 4200)
        assert invoices.status("1") == "paid"
        assert [(letter.to, letter.template) for letter in mail.inbox()] == [("ada@example.com", "receipt")]


@pytest.mark.asyncio
async def test_a_provider_that_is_down_is_asked_again_with_the_same_key() -> None:
    ledger.trouble("payments", "charge", times=3)
    async with environment(app) as env:
        [run] = await env.send(PaymentDue(invoice_id="1"))
        assert run.step("charge").status == "retrying"
        await env.advance("1m")
        assert run.status == "completed"
        assert run.step("charge").attempts == 4
        keys = {call.key for call in ledger.calls("payments", "charge")}
        assert keys == {f"payments/{run.id}/charge"}
        assert len(payments.charges()) == 1


@pytest.mark.asyncio
async def test_a_declined_card_is_tried_once_and_then_given_up_in_three_steps() -> None:
    async with environment(app) as env:
        [run] = await env.send(PaymentDue(invoice_id="2"))
        assert run.status == "failed"
        assert run.step("charge").attempts == 1
        assert run.error is not None
        assert "the bank declined 9.00" in run.error["message"]

        [handler] = [run for run in env.runs() if run.function == "process-payment:on-failure"]
        assert handler.status == "completed"
        assert [(step.id, step.status) for step in handler.steps] == [
            ("mark-unpaid", "completed"),
            ("tell-accounting", "completed"),
            ("announce", "completed"),
        ]
        assert invoices.status("2") == "unpaid"
        [letter] = mail.inbox()
        assert letter.to == "accounting@shop.example"
        assert "the bank declined 9.00" in letter.values["why"]
        assert payments.charges() == []


@pytest.mark.asyncio
async def test_giving_up_survives_a_mail_server_that_is_down_and_a_crash() -> None:
    ledger.trouble("mail", "send", times=2)
    async with environment(app) as env:
        await env.send(PaymentDue(invoice_id="2"))
        [handler] = [run for run in env.runs() if run.function == "process-payment:on-failure"]
        assert handler.status == "running"
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1m")
        assert handler.status == "completed"
        assert handler.step("tell-accounting").attempts == 3
        assert len(mail.inbox()) == 1
        assert len(ledger.calls("invoices", "set-status")) == 1


@pytest.mark.asyncio
async def test_an_invoice_that_is_not_there_is_not_looked_for_again() -> None:
    async with environment(app) as env:
        [run] = await env.send(PaymentDue(invoice_id="3"))
        assert run.status == "failed"
        assert run.step("fetch-invoice").attempts == 1
        assert invoices.status("3") == "unpaid"


@pytest.mark.asyncio
async def test_a_provider_that_stays_down_fails_the_run_when_the_attempts_are_used_up() -> None:
    ledger.trouble("payments", "charge", times=100)
    async with environment(app) as env:
        [run] = await env.send(PaymentDue(invoice_id="1"))
        await env.advance("1h")
        assert run.status == "failed"
        assert run.step("charge").attempts == 7
        assert invoices.status("1") == "unpaid"
