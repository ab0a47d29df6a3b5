"""A user import: rows side by side, some of which fail, and a summary of what became of them.

The body is plain asyncio. A semaphore holds back all but a few rows, `gather` waits for all of them, and a row that
fails for good is an exception in its result. A row that is imported stays imported, whatever happens to the others.

    python examples/user_import.py
    perdure dev examples/user_import.py:app
"""

from __future__ import annotations

import asyncio
import secrets

from fakes import ledger, mail, users
from pydantic import BaseModel

from perdure import App, Context, Event, NonRetriableError, StepError

app = App("user-import")
AT_ONCE = 4


class Row(BaseModel):
    email: str
    name: str


class ImportRequested(Event, name="users/import-requested", key="data.import_id"):
    import_id: str
    by: str
    rows: list[Row]


class Summary(BaseModel):
    imported: list[str]
    """Ids of users."""
    refused: dict[str, str]
    """Mail address to reason."""


def import_user(row: Row) -> users.User:
    try:
        return users.create(row.email, row.name)
    except users.InvalidUser as error:
        raise NonRetriableError(str(error)) from error


def summarise(rows: list[Row], results: list[users.User | str]) -> Summary:
    summary = Summary(imported=[], refused={})
    for row, result in zip(rows, results, strict=True):
        if isinstance(result, users.User):
            summary.imported.append(result.id)
        else:
            summary.refused[row.email] = result
    return summary


@app.function(on=ImportRequested, retries=4)
async def import_users(ctx: Context[ImportRequested]) -> Summary:
    batch = ctx.event.data
    free = asyncio.Semaphore(AT_ONCE)
    done = 0

    async def one(row: Row) -> users.User | str:
        nonlocal done
        try:
            async with free:
                return await ctx.step.run("import-user", import_user, row)
        except StepError as error:
            return error.message
        finally:
            done += 1
            ctx.set_value("progress", f"{done}/{len(batch.rows)}")

    results = await asyncio.gather(*(one(row) for row in batch.rows))
    summary = await ctx.step.run("summarise", summarise, batch.rows, results)
    await ctx.step.run("report", mail.send, batch.by, "import-done", refused=summary.refused)
    return summary


async def main() -> None:
    number = secrets.token_hex(2)
    rows = [Row(email=f"user-{number}-{n}@example.com", name=f"User {n}") for n in range(10)]
    rows[6].email = f"user-{number}-6.example.com"  # no mail address
    ledger.trouble("users", "create", times=2)  # the database has a bad moment: two rows are tried again

    async with app.worker():
        run = await app.start(
            import_users, ImportRequested(import_id=number, by="ops@example.com", rows=rows)
        )
        summary = await run.result(timeout="30s")
        print(await run.value("progress"), "rows were dealt with")
    print(f"{len(summary.imported)} users imported, refused: {summary.refused}")


if __name__ == "__main__":
    asyncio.run(main())
