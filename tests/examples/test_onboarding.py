"""examples/onboarding.py: three weeks in a moment."""

from __future__ import annotations

import pytest

from examples.onboarding import SignedUp, Verified, app, ledger, mail, onboard, payments, users
from perdure.testing import environment

ADA = "ada@example.com"


def letters() -> list[str]:
    return [letter.template for letter in mail.inbox(ADA)]


@pytest.mark.asyncio
async def test_who_verifies_becomes_a_customer_with_a_trial() -> None:
    async with environment(app) as env:
        [run] = await env.send(SignedUp(email=ADA, name="Ada"))
        assert run.status == "running"
        assert letters() == ["verify"]

        await env.advance("6d")
        await env.send(Verified(email="somebody.else@example.com"))
        assert run.status == "running"

        await env.send(Verified(email=ADA))
        assert run.status == "completed"
        assert run.result.startswith("cus_")
        assert payments.customers() == [ADA]
        [user] = users.all_users()
        assert users.status(user.id) == "trial"
        assert [step.id for step in run.steps] == [
            "create-user",
            "create-token",
            "send-link",
            "verified",
            "create-customer",
            "start-trial",
            "announce",
        ]


@pytest.mark.asyncio
async def test_the_follow_up_event_starts_the_mails_of_the_trial() -> None:
    async with environment(app) as env:
        await env.send(SignedUp(email=ADA, name="Ada"))
        await env.send(Verified(email=ADA))
        [trial] = [run for run in env.runs() if run.function == "accompany-trial"]
        assert letters() == ["verify", "welcome"]

        await env.advance("10d 23h")
        assert letters() == ["verify", "welcome"]
        await env.advance("1h")
        assert letters() == ["verify", "welcome", "trial-ends-soon"]
        assert mail.inbox(ADA)[-1].values == {"ends": "15 January"}
        assert trial.status == "completed"


@pytest.mark.asyncio
async def test_who_does_not_verify_within_7_days_is_closed() -> None:
    async with environment(app) as env:
        [run] = await env.send(SignedUp(email=ADA, name="Ada"))
        await env.advance("6d 23h 59m")
        assert run.status == "running"
        await env.advance("1m")
        assert run.result == "never verified"
        [user] = users.all_users()
        assert users.status(user.id) == "closed"
        assert payments.customers() == []

        await env.send(Verified(email=ADA))  # too late
        assert payments.customers() == []


@pytest.mark.asyncio
async def test_a_click_that_was_faster_than_the_wait_counts() -> None:
    async with environment(app) as env:
        ledger.trouble("mail", "send", times=1)  # the mail goes out late, so the wait is not there yet
        [run] = await env.send(SignedUp(email=ADA, name="Ada"))
        assert run.step("send-link").status == "retrying"
        await env.send(Verified(email=ADA))
        await env.advance("1m")
        assert run.status == "completed"


@pytest.mark.asyncio
async def test_a_crash_in_each_pause_of_it_changes_nothing() -> None:
    async with environment(app) as env:
        [run] = await env.send(SignedUp(email=ADA, name="Ada"))
        await env.crash_worker()
        await env.start_worker()
        await env.send(Verified(email=ADA))
        assert run.status == "completed"
        await env.crash_worker()
        await env.start_worker()
        await env.advance("11d")
        assert letters() == ["verify", "welcome", "trial-ends-soon"]
        assert len(ledger.calls("payments", "create-customer")) == 1


@pytest.mark.asyncio
async def test_a_result_is_typed_from_the_outside_too() -> None:
    async with environment(app) as env:
        run = await env.start(onboard, SignedUp(email=ADA, name="Ada"))
        await env.send(Verified(email=ADA))
        assert run.result == "cus_3"
