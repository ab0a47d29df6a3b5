"""The log in memory: for tests, for trying things out, and as the net of the deterministic simulation."""

from perdure.logs.memory.faults import Delivery, Fault
from perdure.logs.memory.log import MemoryLog

__all__ = ["Delivery", "Fault", "MemoryLog"]
