"""The pytest plugin: a fixture that runs an app in an environment.

    @pytest.fixture
    def perdure_app():
        return shop.app

    async def test_onboarding(perdure_env):
        (run,) = await perdure_env.send(UserCreated(...))

Async tests need a plugin of their own, such as pytest-asyncio or anyio; whichever is there runs the fixture too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from perdure.app import App
    from perdure.testing.environment import Environment


@pytest.fixture
def perdure_app() -> App:
    """The app under test: override this fixture."""
    raise pytest.UsageError("define a fixture `perdure_app` that returns your App; perdure_env runs it")


async def _perdure_env(perdure_app: App) -> AsyncGenerator[Environment]:
    """The app on a log in memory with a virtual clock."""
    from perdure.testing.environment import environment  # only where a test asks for it

    async with environment(perdure_app) as env:
        yield env


try:
    import pytest_asyncio
except ImportError:
    perdure_env = pytest.fixture(name="perdure_env")(_perdure_env)
else:
    perdure_env = pytest_asyncio.fixture(name="perdure_env")(_perdure_env)
