"""Human approval: a run waits for days until somebody decides, reminds them, and asks somebody else in the end.

For decisions of people in the middle of a process: expenses, deploys, refunds, what an agent wants to do. Not for
questions to machines, which answer within a step. The decision is a request to the run: whoever makes it learns at once
whether it counted (`await run.request("decide", ...)`), and a wrong one is refused without an end to the wait.

    perdure dev examples/patterns/approval.py:app
    perdure events send expense/filed '{"by": "ada", "cents": 90000}'
    perdure runs list                                        # the run's id
    perdure runs signal RUN decide '{"by": "bob", "approved": true}'
"""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

from perdure import App, Context, Event

app = App("approval")
PATIENCE = {"the manager": 3 * 86400, "the director": 4 * 86400}
"""Who is asked, in turn, and how many seconds they have."""


class ExpenseFiled(Event, name="expense/filed"):
    by: str
    cents: int


class Decision(BaseModel):
    by: str
    approved: bool


def ask(whom: str, run_id: str, cents: int) -> str:
    return f"{whom} is asked to decide on {cents / 100:.2f} by a signal to {run_id}"


async def decision(ctx: Context[ExpenseFiled]) -> Decision:
    while True:
        signal = await ctx.step.wait_for_signal("decision", "decide")
        assert signal is not None, "it waits without a timeout of its own"
        made = Decision.model_validate(signal.data)
        if made.by != ctx.event.data.by:
            signal.reply("recorded")
            return made
        signal.refuse("nobody decides on their own expenses")


@app.function(on=ExpenseFiled)
async def approve(ctx: Context[ExpenseFiled]) -> Decision:
    for whom, seconds in PATIENCE.items():
        ctx.set_value("waits for", whom)
        await ctx.step.run("ask", ask, whom, ctx.run_id, ctx.event.data.cents)
        try:
            async with asyncio.timeout(seconds):
                return await decision(ctx)
        except TimeoutError:
            continue  # the next one is asked
    return Decision(by="nobody", approved=False)
