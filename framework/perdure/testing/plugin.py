"""The pytest plugin: `perdure_env`, an app in an environment; `perdure_kafka`, a real broker.

    @pytest.fixture
    def perdure_app():
        return shop.app

    @pytest.mark.asyncio
    async def test_onboarding(perdure_env):
        (run,) = await perdure_env.send(UserCreated(...))

Async tests are run by pytest-asyncio (the extra `testing` brings it) or by anyio; the fixture follows the test.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from perdure.testing.kafka import perdure_kafka as perdure_kafka
from perdure.testing.kafka import perdure_kafka_url as perdure_kafka_url

if TYPE_CHECKING:
    from perdure.app import App
    from perdure.testing.environment import Environment

_HAS_ASYNCIO = find_spec("pytest_asyncio") is not None
_FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers for the fixture whether its test failed."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture
def perdure_app() -> App:
    """The app under test: override this fixture."""
    raise pytest.UsageError("define a fixture `perdure_app` that returns your App; perdure_env runs it")


@pytest.fixture
def perdure_env(request: pytest.FixtureRequest) -> Environment:
    """The app `perdure_app` on a log in memory, with a virtual clock."""
    if "anyio_backend" in request.fixturenames:
        return request.getfixturevalue("_perdure_env_anyio")
    if not _HAS_ASYNCIO:
        raise pytest.UsageError(
            "perdure_env needs a plugin that runs async tests: pip install 'perdure[testing]' brings pytest-asyncio"
        )
    return request.getfixturevalue("_perdure_env_asyncio")


async def _environment(request: pytest.FixtureRequest, perdure_app: App) -> AsyncGenerator[Environment]:
    from perdure.testing.environment import environment  # only where a test asks for it

    async with environment(perdure_app) as env:
        yield env
        if request.node.stash.get(_FAILED, False):
            env.mocks.forgive()  # it did not come as far as the steps that it mocked


# pytest finds fixtures by the names of a module, of whatever kind their makers are.
_env_anyio = pytest.fixture(name="_perdure_env_anyio")(_environment)
if _HAS_ASYNCIO:
    import pytest_asyncio

    _env_asyncio = pytest_asyncio.fixture(name="_perdure_env_asyncio")(_environment)
