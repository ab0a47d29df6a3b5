"""Testing durable functions: the same engine, in process, on a log in memory, with a clock of its own."""

from perdure.testing.crashing import CrashReport, crash_everywhere
from perdure.testing.environment import Environment, TestRun, environment
from perdure.testing.replaying import assert_replays

__all__ = ["CrashReport", "Environment", "TestRun", "assert_replays", "crash_everywhere", "environment"]
