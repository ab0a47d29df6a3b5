"""The pytest plugin, in a pytest of its own: the fixture goes with whatever runs the async test."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

APP = """
import pytest
from perdure import App, Context

app = App("plugged")

@app.function(on="go")
async def go(ctx: Context) -> str:
    return await ctx.step.run("leave", str.upper, "gone")

@pytest.fixture
def perdure_app():
    return app
"""


def run(pytester: pytest.Pytester, test: str) -> pytest.RunResult:
    pytester.makepyfile(APP + test)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider")


WITH_ASYNCIO = """
@pytest.mark.asyncio
async def test_with_asyncio(perdure_env):
    (run,) = await perdure_env.send("go", {})
    assert run.result == "GONE"
"""

WITH_ANYIO = """
@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.mark.anyio
async def test_with_anyio(perdure_env):
    (run,) = await perdure_env.send("go", {})
    assert run.result == "GONE"
"""


def test_the_fixture_goes_with_pytest_asyncio_and_with_anyio(pytester: pytest.Pytester) -> None:
    run(pytester, WITH_ASYNCIO + WITH_ANYIO).assert_outcomes(passed=2)


def test_without_an_app_it_says_what_to_define(pytester: pytest.Pytester) -> None:
    result = run(pytester, "del perdure_app\n" + WITH_ASYNCIO)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*define a fixture `perdure_app` that returns your App*"])


def test_without_pytest_asyncio_it_says_what_to_install(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("from perdure.testing import plugin; plugin._HAS_ASYNCIO = False")
    result = run(pytester, WITH_ASYNCIO)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*pip install 'perdure?testing?'*"])


def test_A11_a_misspelt_mock_is_an_error_unless_the_test_has_failed_before(pytester: pytest.Pytester) -> None:
    test = """
@pytest.mark.asyncio
async def test_misspelt(perdure_env):
    perdure_env.mock_step("leafe", returns="x")
    await perdure_env.send("go", {})

@pytest.mark.asyncio
async def test_fails_before(perdure_env):
    perdure_env.mock_step("leave", returns="x")
    assert 1 == 2
"""
    result = run(pytester, test)
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*mock_step('leafe') was never used; steps that ran: leave*"])
