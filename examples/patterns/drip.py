"""Drip campaign: a mail, a few days, the next mail, until the person buys, unsubscribes or the mails are out.

python examples/patterns/drip.py
"""

from __future__ import annotations

import asyncio

from perdure import App, CancelOn, Context, Event

app = App("drip")
MAILS = (("welcome", "2d"), ("how-others-use-it", "4d"), ("an-offer", "7d"))


class SignedUp(Event, name="user/signed-up", key="data.email"):
    email: str


class Bought(Event, name="user/bought", key="data.email"):
    email: str
    cents: int


def send_mail(to: str, template: str) -> None:
    print(f"to {to}: {template}")


@app.function(on=SignedUp, cancel_on=CancelOn("user/unsubscribed", match="data.email"))
async def drip(ctx: Context[SignedUp]) -> str:
    email = ctx.event.data.email
    for template, pause in MAILS:
        await ctx.step.run("mail", send_mail, email, template)
        ctx.set_value("last", template)
        bought = await ctx.step.wait_for_event(
            "bought",
            Bought,
            if_="async.data.email == event.data.email && async.data.cents > 0",
            timeout=pause,
            lookback="1h",  # somebody may be quicker than the first mail
        )
        if bought is not None:
            await ctx.step.run("thank", send_mail, email, "thank-you")
            return f"bought for {bought.data.cents / 100:.2f} after {template}"
    return "not this time"


async def main() -> None:
    async with app.worker():
        run = await app.start(drip, SignedUp(email="ada@example.com"))
        await app.send(Bought(email="ada@example.com", cents=4200))
        print(await run.result(timeout="30s"))


if __name__ == "__main__":
    asyncio.run(main())
