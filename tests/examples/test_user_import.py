"""examples/user_import.py: rows that fail do not hold up the others."""

from __future__ import annotations

import pytest

from examples.user_import import AT_ONCE, ImportRequested, Row, app, import_users, ledger, mail, users
from perdure.testing import environment


def batch(emails: list[str]) -> ImportRequested:
    rows = [Row(email=email, name=email.partition("@")[0]) for email in emails]
    return ImportRequested(import_id="1", by="ops@example.com", rows=rows)


MANY = [f"user-{number}@example.com" for number in range(12)]


@pytest.mark.asyncio
async def test_all_rows_are_imported_once_and_summed_up_in_order() -> None:
    async with environment(app) as env:
        run = await env.start(import_users, batch(MANY))
        ids = {user.email: user.id for user in users.all_users()}
        assert run.result.imported == [ids[email] for email in MANY]
        assert run.result.refused == {}
        assert len(ledger.calls("users", "create")) == len(MANY)
        assert run.values == {"progress": "12/12"}
        assert [letter.template for letter in mail.inbox("ops@example.com")] == ["import-done"]


@pytest.mark.asyncio
async def test_bad_rows_are_refused_and_the_others_are_there() -> None:
    async with environment(app) as env:
        run = await env.start(import_users, batch(["nonsense", *MANY, "more nonsense"]))
        assert run.status == "completed"
        assert len(run.result.imported) == len(users.all_users()) == len(MANY)
        assert run.result.refused == {
            "nonsense": "'nonsense' is not a mail address",
            "more nonsense": "'more nonsense' is not a mail address",
        }
        [letter] = mail.inbox("ops@example.com")
        assert set(letter.values["refused"]) == {"nonsense", "more nonsense"}


@pytest.mark.asyncio
async def test_no_more_rows_than_allowed_are_under_way() -> None:
    ledger.trouble("users", "create", times=AT_ONCE)
    async with environment(app) as env:
        run = await env.start(import_users, batch(MANY))
        assert [step.status for step in run.steps] == ["retrying"] * AT_ONCE
        await env.advance("1m")
        assert run.status == "completed"
        assert len(ledger.calls("users", "create")) == len(MANY) + AT_ONCE
        assert len(users.all_users()) == len(MANY)


@pytest.mark.asyncio
async def test_a_crash_in_the_middle_repeats_no_row_that_was_done() -> None:
    ledger.trouble("users", "create", times=1)
    async with environment(app) as env:
        run = await env.start(import_users, batch(MANY))
        assert run.status == "running"
        await env.crash_worker()
        await env.start_worker()
        await env.advance("1m")
        assert run.status == "completed"
        assert len(ledger.calls("users", "create")) == len(MANY) + 1
