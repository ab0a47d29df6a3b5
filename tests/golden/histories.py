"""Histories of runs, as each minor version of Python wrote them: what old logs look like to a later one (A17).

The scheduling order of asyncio is no promise of Python's, so a run that was recorded under one minor version may go
another way under the next. `histories/` holds, for each minor and each program of the replay harness, what a live
execution recorded on it. One file is one program; a line of it is an op, and what is indented together is a commit.

A file is never edited, and neither is a program that has one: replay holds the program against it. A program that has
to change gets a new name.
"""

from __future__ import annotations

import itertools
import json
import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from perdure.core import ops
from perdure.core.ops import Op
from perdure.execution.execution import PYTHON
from tests.execution import programs_more
from tests.execution.harness import run_live
from tests.execution.programs import PROGRAMS

assert programs_more, "its bodies are in the table"

FOLDER = Path(__file__).parent / "histories"
SEEDS = (1, 2, 3)
"""What is recorded of each program. With seeds 1 and 3, the minors of today differ (`test_histories.py` has how)."""
CODE = "1"
"""The version of the programs' code, in live runs of the harness and on replay."""

_DROPS = frozenset({ops.STEP_ABANDONED, ops.TIMER_DROPPED, ops.WAIT_CLOSED, ops.CHILD_DROPPED})
_NAMESPACE = "perdure."


@dataclass(frozen=True)
class History:
    """What the log has of one run."""

    program: str
    python: str
    """The minor version that it was recorded on."""
    run_id: str
    commits: list[list[Op]]

    def __str__(self) -> str:
        return f"{self.python}-{self.program}-{self.run_id}"

    def turns(self) -> Iterator[list[Op]]:
        """The release that opened each turn, and its consequences; whatever commits they stand in."""
        turn: list[Op] = []
        for op in itertools.chain.from_iterable(self.commits):
            if op[0] in ops.RELEASES and turn:
                yield turn
                turn = []
            turn.append(op)
        yield turn


def place(program: str, minor: str = PYTHON) -> Path:
    """Where the histories of a program are kept."""
    return FOLDER / minor / f"{program}.json"


def recorded(program: str) -> str:
    """The text of a new file: the program's runs on the Python of this process. The same text each time."""
    runs = [
        f"{_compact(f'run-{seed}')}: [\n{_commits(run_live(PROGRAMS[program], seed).record.commits)}\n]"
        for seed in SEEDS
    ]
    # Micro versions mend asyncio too, and anyio has an order of its own: who looks at a difference wants both.
    by = {"program": program, "python": platform.python_version(), "anyio": version("anyio")}
    about = "".join(f"{_compact(name)}: {_compact(value)},\n" for name, value in by.items())
    return f'{{\n{about}"runs": {{\n' + ",\n".join(runs) + "\n}\n}\n"


def load() -> list[History]:
    """Every history there is, in the order of minors and programs."""
    return [history for path in sorted(FOLDER.glob("*/*.json")) for history in read(path)]


def read(path: Path) -> list[History]:
    """The runs of one file."""
    found = json.loads(path.read_text(encoding="utf-8"), object_hook=_revived)
    return [
        History(path.stem, path.parent.name, run_id, [[_op(*op) for op in commit] for commit in commits])
        for run_id, commits in found["runs"].items()
    ]


def settled(commit: Iterable[Op]) -> list[Op]:
    """A commit without what differs each time that it is recorded, and that replay does not look at.

    Tracebacks hold paths of the machine. What one turn gives up has no order of its own: anyio cancels its tasks in
    that of their addresses.
    """
    found: list[Op] = []
    for dropping, group in itertools.groupby(commit, key=lambda op: op[0] in _DROPS):
        if dropping:
            found += sorted(group, key=lambda op: (op[0], op[1]["key"]))
        else:
            found += [(name, _without_traceback(fields)) for name, fields in group]
    return found


# --- what a line says -------------------------------------------------------------------------------------------------


def _commits(commits: list[list[Op]]) -> str:
    lines = [",\n  ".join(_compact(_shown(op)) for op in settled(commit)) for commit in commits]
    return ",\n".join(f" [{line}]" for line in lines)


def _shown(op: Op) -> list[Any]:
    return [op[0].removeprefix(_NAMESPACE), op[1]]


def _op(name: str, fields: dict[str, Any]) -> Op:
    return _NAMESPACE + name, fields


def _without_traceback(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "error": {**fields["error"], "traceback": ""}} if "error" in fields else fields


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=_text)


def _text(value: bytes) -> dict[str, str]:
    """Payloads are JSON, so they are text; what is not fails here."""
    return {"$text": value.decode("utf-8")}


def _revived(found: dict[str, Any]) -> Any:
    """What `_compact` made of bytes, and of a member of a union: the outcome of a child is an op in an op."""
    if found.keys() == {"$text"}:
        return found["$text"].encode("utf-8")
    if "outcome" in found:
        found["outcome"] = tuple(found["outcome"])
    return found
