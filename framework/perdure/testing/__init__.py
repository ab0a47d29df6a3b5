"""Testing durable functions: the same engine, in process, on a log in memory, with a clock of its own."""

from perdure.testing.environment import Environment, environment

__all__ = ["Environment", "environment"]
