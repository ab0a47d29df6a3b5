"""User onboarding: a function that takes three weeks, most of which it sleeps.

A user signs up, gets a mail, and has 7 days to click on the link in it. Who clicks becomes a customer with a trial of
14 days. Another function hears of that, and looks after the new user from then on.

    python examples/onboarding.py
    perdure dev examples/onboarding.py:app
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timedelta

from fakes import ledger, mail, payments, users

from perdure import App, Context, Event, current_step

app = App("onboarding")
TRIAL = timedelta(days=14)


class SignedUp(Event, name="user/signed-up", key="data.email"):
    email: str
    name: str


class Verified(Event, name="user/verified", key="data.email"):
    email: str


class TrialStarted(Event, name="user/trial-started", key="data.email"):
    email: str
    user_id: str
    ends: datetime


# Steps are plain functions, `def` or `async def`. What they return is recorded as the type that is annotated.


def create_token() -> str:
    return secrets.token_urlsafe(8)


@app.step(retries=8, timeout="30s")
async def create_customer(user: users.User) -> str:
    # The key is the same for each attempt of this step, so a repetition finds the customer of the first one.
    return await payments.create_customer(user.email, idempotency_key=current_step().idempotency_key)


@app.function(on=SignedUp, retries=5)
async def onboard(ctx: Context[SignedUp]) -> str:
    email = ctx.event.data.email
    user = await ctx.step.run("create-user", users.create, email, ctx.event.data.name)
    token = await ctx.step.run("create-token", create_token)
    await ctx.step.run("send-link", mail.send, email, "verify", token=token)

    # Some click faster than we get here: `lookback` finds those events, too.
    verified = await ctx.step.wait_for_event(
        "verified", Verified, match="data.email", timeout="7d", lookback="1h"
    )
    if verified is None:
        await ctx.step.run("close-account", users.set_status, user.id, "closed")
        return "never verified"

    customer = await ctx.step.run("create-customer", create_customer, user)
    await ctx.step.run("start-trial", users.set_status, user.id, "trial")
    ends = ctx.now() + TRIAL
    await ctx.step.send_event("announce", TrialStarted(email=email, user_id=user.id, ends=ends))
    return customer


@app.function(on=TrialStarted)
async def accompany_trial(ctx: Context[TrialStarted]) -> None:
    trial = ctx.event.data
    await ctx.step.run("welcome", mail.send, trial.email, "welcome")
    await ctx.step.sleep_until("nearly-over", trial.ends - timedelta(days=3))
    await ctx.step.run("remind", mail.send, trial.email, "trial-ends-soon", ends=f"{trial.ends:%d %B}")


async def main() -> None:
    email = f"ada-{secrets.token_hex(2)}@example.com"
    async with app.worker():
        run = await app.start(onboard, SignedUp(email=email, name="Ada"))
        await app.send(Verified(email=email))  # Ada is quick
        customer = await run.result(timeout="30s")
        await ledger.until(lambda: len(mail.inbox(email)) == 2)  # the other function is at work
    print(f"{email} is customer {customer}, and got these mails:")
    for letter in mail.inbox(email):
        print(f"  {letter.template} {letter.values}")
    print("Her trial is accompanied for 11 more days: by whichever worker runs then.")


if __name__ == "__main__":
    asyncio.run(main())
