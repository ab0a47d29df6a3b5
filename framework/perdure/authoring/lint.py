"""Finds in the source of an `async def` body what no hook can refuse while it runs: clocks, randomness, threads (B3).

A body is replayed, so what it reads must be the same again. Files, sockets and processes are refused at run time; a
clock is not. This looks at the text of the body alone, not at what it calls, and is advice, never an error.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any, Final, NamedTuple

__all__ = ["Advice", "advice_for"]


class Advice(NamedTuple):
    """One place in a body, and what to write instead."""

    where: str
    """File and line."""
    call: str
    advice: str

    def __str__(self) -> str:
        return f"{self.where}: {self.call} in a body: {self.advice}"


_CLOCK: Final = "another value on replay; use ctx.now()"
_RANDOM: Final = "another value on replay; use ctx.random or ctx.uuid4()"
_THREAD: Final = "a thread is no part of the record; put it in a step"
_BLOCKS: Final = "it blocks the worker; use asyncio.sleep, which is durable here"
_READS: Final = "it may change before a replay; read it in a step, or when the module is loaded"

_CALLS: Final = {
    "time.time": _CLOCK,
    "time.time_ns": _CLOCK,
    "time.monotonic": _CLOCK,
    "time.perf_counter": _CLOCK,
    "time.sleep": _BLOCKS,
    "datetime.now": _CLOCK,
    "datetime.utcnow": _CLOCK,
    "datetime.today": _CLOCK,
    "date.today": _CLOCK,
    "uuid.uuid1": _RANDOM,
    "uuid.uuid4": _RANDOM,
    "uuid4": _RANDOM,
    "os.urandom": _RANDOM,
    "os.getenv": _READS,
    "os.environ.get": _READS,
    "threading.Thread": _THREAD,
    "asyncio.to_thread": _THREAD,
    "ThreadPoolExecutor": _THREAD,
}
_MODULES: Final = {"random": _RANDOM, "secrets": _RANDOM}


def advice_for(body: Callable[..., Any]) -> list[Advice]:
    """What to look at in a body's source; nothing when there is no source, or when the body is a `def`."""
    target = inspect.unwrap(body)
    if not inspect.iscoroutinefunction(target):
        return []
    try:
        lines, first = inspect.getsourcelines(target)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError):
        return []
    file = inspect.getsourcefile(target) or "?"
    return [
        Advice(f"{file}:{first + node.lineno - 1}", f"{name}()", advice)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and (found := _judge(node)) is not None
        for name, advice in [found]
    ]


def _judge(node: ast.Call) -> tuple[str, str] | None:
    name = _dotted(node.func)
    if name is None or name.startswith("ctx."):
        return None
    short = ".".join(name.split(".")[-2:])
    advice = (
        _CALLS.get(name) or _CALLS.get(short) or _MODULES.get(name.partition(".")[0] if "." in name else "")
    )
    return None if advice is None else (name, advice)


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return None if head is None else f"{head}.{node.attr}"
    return None
