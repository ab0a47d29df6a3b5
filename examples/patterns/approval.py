"""Human approval: an expense waits for its approver, who may ask for changes; each answer is told to whoever gave it.

python examples/patterns/approval.py
perdure runs signal RUN decide '{"by": "ann", "approved": true}'
"""

from __future__ import annotations

import asyncio

from perdure import App, Context, Event, RequestRefused

app = App("expenses")
WITHIN = "3d"


class ExpenseFiled(Event, name="expense/filed"):
    who: str
    cents: int


def notify(whom: str, about: str) -> None:
    print(f"to {whom}: {about}")


def pay(who: str, cents: int) -> str:
    return f"{cents / 100:.2f} paid to {who}"


@app.function(on=ExpenseFiled)
async def approve_expense(ctx: Context[ExpenseFiled]) -> str:
    filed = ctx.event.data
    await ctx.step.run("ask", notify, "approver", f"{filed.who} wants {filed.cents / 100:.2f}")
    while True:
        ctx.set_value("waits for", "approver")
        decision = await ctx.step.wait_for_signal("decision", "decide", timeout=WITHIN)
        if decision is None:
            await ctx.step.run("escalate", notify, "manager", f"nobody decides about {filed.who}")
            return "escalated"
        if decision.data.get("by") == filed.who:
            decision.refuse("nobody approves an expense of their own")
            continue
        decision.reply("noted")
        if not decision.data["approved"]:
            return f"refused by {decision.data['by']}"
        return await ctx.step.run("pay", pay, filed.who, filed.cents)


async def main() -> None:
    async with app.worker():
        run = await app.start(approve_expense, ExpenseFiled(who="bob", cents=9900))
        try:
            await run.request("decide", {"by": "bob", "approved": True}, timeout="10s")
        except RequestRefused as refused:
            print(refused)
        print(await run.request("decide", {"by": "ann", "approved": True}, timeout="10s"))
        print(await run.result(timeout="30s"))


if __name__ == "__main__":
    asyncio.run(main())
