"""A run whose body is over, and whose step in a thread is not, says so."""

from __future__ import annotations

import pytest

from perdure.cli.shapes import run_json, view_json
from perdure.cli.showing import doing, show_run
from tests.engine.test_held_ends import ENDS, held, only

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("name", ENDS)
async def test_a_held_end_is_shown_with_what_it_will_be(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _ = ENDS[name]
    said = f"ends as {status} when the last attempt of a step is over"
    async with held(name) as (env, _, blocking):
        run = only(env)
        assert doing(run, run.created) == said
        assert run_json(run)["held"] == status
        view = env.run(run.id).view
        assert view_json(view, len(view.ops))["held"] == status
        show_run(view, len(view.ops), run.created)
        assert f"  end      {said}\n" in capsys.readouterr().out

        blocking.go_on.set()
        await env.settle()
        assert run_json(only(env))["held"] is None
        assert said not in doing(only(env), run.created)
