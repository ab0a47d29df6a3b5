"""Dead-letter step: what cannot be done is put aside with its reason, and waits there for somebody to mend the cause.

For work that comes from outside and must not be lost when it fails for good: webhooks, imports, messages. Not for a bug
in the function itself: `on_error="pause"` parks such a run, and `perdure runs resume` lets it go on with mended code. A
letter is a run here: it is listed, it is kept for 30 days, and `webhook/redrive` sends again all that wait for one URL.

    perdure dev examples/patterns/dead_letter.py:app
    touch receiver-is-down                                   # an outage; rm receiver-is-down ends it
    perdure events send webhook/due '{"url": "https://shop.example", "body": "paid"}'
    perdure runs list --function keep-letter                 # some seconds later
    perdure events send webhook/redrive '{"url": "https://shop.example"}'
"""

from __future__ import annotations

from pathlib import Path

from perdure import App, Context, Event, Retry, StepError

app = App("dead-letter")
DOWN = Path("receiver-is-down")


class WebhookDue(Event, name="webhook/due", key="data.url"):
    url: str
    body: str


class DeadLetter(Event, name="webhook/dead-letter", key="data.url"):
    url: str
    body: str
    why: str


class Redrive(Event, name="webhook/redrive", key="data.url"):
    url: str


@app.step(retry=Retry(limit=3, initial="1s", on=(ConnectionError,)), timeout="10s")
def post(url: str, body: str) -> str:
    if DOWN.exists():
        raise ConnectionError(f"{url} does not answer")
    return f"{url} has {body!r}"


def alert(url: str, why: str) -> str:
    return f"to whoever is on call: {url} gets no webhooks: {why}"


@app.function(on=WebhookDue)
async def deliver(ctx: Context[WebhookDue]) -> str:
    hook = ctx.event.data
    try:
        return await ctx.step.run("post", post, hook.url, hook.body)
    except StepError as error:
        letter = DeadLetter(url=hook.url, body=hook.body, why=error.message)
        await ctx.step.send_event("put-aside", letter)
        return "put aside"


@app.function(on=DeadLetter)
async def keep_letter(ctx: Context[DeadLetter]) -> str:
    letter = ctx.event.data
    await ctx.step.run("alert", alert, letter.url, letter.why)
    mended = await ctx.step.wait_for_event("mended", Redrive, match="data.url", timeout="30d")
    if mended is None:
        return "given up"
    await ctx.step.send_event("send-again", WebhookDue(url=letter.url, body=letter.body))
    return "sent again"
