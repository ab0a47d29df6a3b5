"""Drip campaign: mails over days, each sent only when the one before it did not do what it is for.

For what follows a person over time and stops when they act: onboarding, dunning, win-back. Not for one mail at one time
(`perdure events send ... --ts`), nor for the same mail to all (a cron, and fan_out.py). Who buys is thanked, who
unsubscribes hears no more, and who signs up twice gets one campaign.

    perdure dev examples/patterns/drip_campaign.py:app
    perdure events send user/signed-up '{"email": "ada@example.com"}'
    perdure events send user/bought '{"email": "ada@example.com"}'              # or user/unsubscribed
"""

from __future__ import annotations

from perdure import App, CancelOn, Context, Event, Singleton

app = App("drip-campaign")
CAMPAIGN = [("welcome", "2d"), ("how-others-use-it", "5d"), ("ten-percent-off", "7d")]
"""Mails, and how long each is given."""


class SignedUp(Event, name="user/signed-up", key="data.email"):
    email: str


class Bought(Event, name="user/bought", key="data.email"):
    email: str


class Unsubscribed(Event, name="user/unsubscribed", key="data.email"):
    email: str


def send(email: str, template: str) -> str:
    return f"{template} to {email}"


@app.function(
    on=SignedUp,
    singleton=Singleton(key="event.data.email"),
    cancel_on=CancelOn(Unsubscribed, match="data.email"),
)
async def follow_up(ctx: Context[SignedUp]) -> str:
    email = ctx.event.data.email
    for template, patience in CAMPAIGN:
        await ctx.step.run(template, send, email, template)
        bought = await ctx.step.wait_for_event("bought", Bought, match="data.email", timeout=patience)
        if bought is not None:
            await ctx.step.run("thank-you", send, email, "thank-you")
            return f"bought after {template}"
    return "not interested"
