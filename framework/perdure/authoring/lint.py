"""Finds in the source of an `async def` body what no hook can refuse while it runs: clocks, randomness, threads (B3).

A body is replayed, so what it reads must be the same again. Files, sockets and processes are refused at run time; a
clock is not, and neither is a step that nobody awaits. This looks at the text of the body alone, not at what it calls
nor at the steps written inside of it, and is advice, never an error.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
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
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
_Function = ast.FunctionDef | ast.AsyncFunctionDef
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
    found = tree.body[0]
    if not isinstance(found, _FUNCTIONS):
        return []
    ctx = next(iter(inspect.signature(body).parameters), "ctx")
    judged = sorted(_judged(found, ctx), key=lambda one: (one[0].lineno, one[0].col_offset))
    return [Advice(f"{file}:{first + node.lineno - 1}", f"{name}()", advice) for node, name, advice in judged]


def _judged(body: _Function, ctx: str) -> Iterator[tuple[ast.Call, str, str]]:
    for node in _own_nodes(body):
        if isinstance(node, ast.Call) and (found := _judge(node, ctx)) is not None:
            yield node, *found
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = _asked(node.value, ctx)
            if call is not None:
                yield node.value, call, f"nobody awaits it, so it never happens; write await {call}(...)"


def _own_nodes(body: _Function) -> Iterator[ast.AST]:
    """What runs as a part of the body: functions inside of it only if it calls them itself, for most are steps."""
    inner: dict[str, _Function] = {}
    called: set[str] = set()
    left: list[ast.AST] = list(body.body)
    while left:
        node = left.pop()
        if isinstance(node, _FUNCTIONS):
            inner[node.name] = node
        elif not isinstance(node, ast.Lambda | ast.ClassDef):
            yield node
            left += ast.iter_child_nodes(node)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                called.add(node.func.id)
        if not left:
            for name in inner.keys() & called:
                left += inner.pop(name).body


def _judge(node: ast.Call, ctx: str) -> tuple[str, str] | None:
    name = _dotted(node.func)
    if name is None or name.startswith(f"{ctx}."):
        return None
    short = ".".join(name.split(".")[-2:])
    advice = (
        _CALLS.get(name) or _CALLS.get(short) or _MODULES.get(name.partition(".")[0] if "." in name else "")
    )
    return None if advice is None else (name, advice)


def _asked(node: ast.Call, ctx: str) -> str | None:
    """`ctx.step.run`, when that is what is called, also under options."""
    func = node.func
    if not isinstance(func, ast.Attribute) or func.attr == "options":
        return None
    on = func.value.func if isinstance(func.value, ast.Call) else func.value
    if _dotted(on) in (f"{ctx}.step", f"{ctx}.step.options"):
        return f"{ctx}.step.{func.attr}" if on is func.value else f"{ctx}.step.options(...).{func.attr}"
    return None


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return None if head is None else f"{head}.{node.attr}"
    return None
