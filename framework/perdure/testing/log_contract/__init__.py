"""The contract suite of logs: what every backend must pass. Needs pytest.

The author of a backend writes, in the tests of that backend:

    class TestMyLog(LogContract):
        @pytest.fixture
        def connect(self, tmp_path):
            return lambda: MyLog(tmp_path / "log", partitions=4)

`connect` makes connections to one log, which is empty at first and has at least 2 partitions; each call stands for
another process. None of them is open yet; the suite opens and closes them, in one event loop per test.

Two more fixtures are optional, and the tests that need them are skipped without: `fail_next_append` gives a function
`(log, topic, partition)` after which the next append there fails; `take_away` gives a function `(log, partition)`
after which the member of that connection has lost the partition without being asked.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

pytest.register_assert_rewrite(
    *(
        f"perdure.testing.log_contract.{name}"
        for name in ("appending", "following", "group", "keeping", "world")
    )
)

from perdure.logs import Log, Topic  # noqa: E402 - after the rewriting is registered
from perdure.testing.log_contract.appending import Appending  # noqa: E402
from perdure.testing.log_contract.following import Following  # noqa: E402
from perdure.testing.log_contract.group import Grouping  # noqa: E402
from perdure.testing.log_contract.keeping import Keeping  # noqa: E402
from perdure.testing.log_contract.world import Recorder, World, append, until  # noqa: E402

__all__ = ["LogContract", "Recorder", "World", "append", "until"]


class LogContract(Appending, Following, Grouping, Keeping):
    """Subclass it as `Test…` and override `connect`; see the module."""

    @pytest.fixture
    def connect(self) -> Callable[[], Log]:
        raise NotImplementedError("override the fixture `connect`")

    @pytest.fixture
    def fail_next_append(self) -> Callable[[Log, Topic, int], None]:
        pytest.skip("this backend cannot make an append fail")

    @pytest.fixture
    def take_away(self) -> Callable[[Log, int], None]:
        pytest.skip("this backend cannot take a partition away without asking")
