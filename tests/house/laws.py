"""The laws that neither ruff, nor pyright, nor import-linter knows: one row each, with what to do about a breach.

A law names the files that it holds for, finds the lines that break it, and shows one breach of its own making: a law
that finds nothing in its example could never fail, and `test_tidy.py` would say so.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.house.sources import ROOT, Source

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
VAGUE_NAMES = {
    "common",
    "helper",
    "helpers",
    "manager",
    "managers",
    "misc",
    "shared",
    "stuff",
    "util",
    "utils",
}

MAY_SLEEP: dict[str, str] = {
    "tests/authoring/test_lint.py": "a body that sleeps is what is found; it is never run",
    "tests/logs/process.py": "a member whose event loop hangs is what is tested",
    "tests/logs/test_sqlite_file.py": "a follower that takes slowly is what is tested",
}
"""Tests that may call time.sleep: path → reason. A step that blocks its thread on purpose is one; a wait is not."""

Breach = tuple[int, str]
Find = Callable[[Source], Iterator[Breach]]


@dataclass(frozen=True)
class Law:
    """What must not be there (`name`), where (`holds_for`), and the way out (`advice`)."""

    name: str
    advice: str
    holds_for: Callable[[str], bool]
    find: Find
    example: Source


def python(*folders: str) -> Callable[[str], bool]:
    """Holds for the Python files below these folders; for all of them when none is named."""
    return lambda path: path.endswith(".py") and (not folders or path.startswith(folders))


def everywhere(_path: str) -> bool:
    return True


# --- sizes and names --------------------------------------------------------------------------------------------------


def long_module(source: Source) -> Iterator[Breach]:
    if len(source.lines) > MODULE_LINES_MAX:
        yield MODULE_LINES_MAX + 1, f"{len(source.lines)} lines"


def long_function(source: Source) -> Iterator[Breach]:
    for node in source.nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1 - _docstring_lines(node)
            if lines > FUNCTION_LINES_MAX:
                yield node.lineno, f"{node.name} has {lines} lines without its docstring"


def _docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    if ast.get_docstring(node, clean=False) is None:
        return 0
    first = node.body[0]
    return (first.end_lineno or first.lineno) - first.lineno + 1


def vague_name(source: Source) -> Iterator[Breach]:
    for part in PurePosixPath(source.path).with_suffix("").parts:
        if part.strip("_").lower() in VAGUE_NAMES:
            yield 1, part


# --- words ------------------------------------------------------------------------------------------------------------


def words(pattern: str, *, flags: int = 0) -> Find:
    """Finds the lines on which a pattern matches."""
    compiled = re.compile(pattern, flags)

    def find(source: Source) -> Iterator[Breach]:
        for number, line in enumerate(source.lines, 1):
            if found := compiled.search(line):
                yield number, found.group().strip()

    return find


def dead_link(source: Source) -> Iterator[Breach]:
    here = ROOT / PurePosixPath(source.path).parent
    fenced = False
    for number, line in enumerate(source.lines, 1):
        fenced ^= line.lstrip().startswith("```")
        for target in [] if fenced else re.findall(r"\]\(([^)#\s]+)[^)]*\)", line):
            if "://" not in target and not target.startswith("mailto:") and not (here / target).exists():
                yield number, target


# These are put together from halves, so that this file keeps its own laws.
_OPEN_ENDS = r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b"
_MACHINE = r"(?<![\w.~<>-])/(?:work|root|home/\w+|Users/\w+)/"
_REGISTRIES = "|".join(
    re.escape(host + "." + top)
    for host, top in [
        ("py" + "pi", "org"),
        ("files.python" + "hosted", "org"),
        ("registry.npm" + "js", "org"),
        ("repo1.ma" + "ven", "org"),
        ("repo.maven.apa" + "che", "org"),
        ("cra" + "tes", "io"),
        ("proxy.gol" + "ang", "org"),
        ("deb.deb" + "ian", "org"),
        ("security.deb" + "ian", "org"),
    ]
)
_ABSENT_PAPERS = r"\b(?:DES" + r"IGN|DES" + r"IGN-REVIEW|A" + r"PI|INTER" + r"FACES)(?:\.md\b| ?§)"


# --- code -------------------------------------------------------------------------------------------------------------


def swallowed_exception(source: Source) -> Iterator[Breach]:
    for node in source.nodes:
        if isinstance(node, ast.ExceptHandler):
            if node.type is None:
                yield node.lineno, "except:"
            elif _names(node.type) & {"Exception", "BaseException"} and _does_nothing(node.body):
                yield node.lineno, f"except {ast.unparse(node.type)}: pass"
        elif isinstance(node, ast.Call) and _suppresses_all(node):
            yield node.lineno, ast.unparse(node)


def _suppresses_all(call: ast.Call) -> bool:
    names = {name for argument in call.args for name in _names(argument)}
    return ast.unparse(call.func).endswith("suppress") and bool(names & {"Exception", "BaseException"})


def _names(node: ast.expr) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _does_nothing(body: list[ast.stmt]) -> bool:
    return all(isinstance(s, ast.Pass | ast.Continue) or _is_ellipsis(s) for s in body)


def _is_ellipsis(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def calls(*names: str) -> Find:
    """Finds calls by the name they are written with: `print`, `time.sleep`, `datetime.now`."""

    def find(source: Source) -> Iterator[Breach]:
        for node in source.nodes:
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                written = ast.unparse(node.func)
                if any(written == name or written.endswith("." + name) for name in names):
                    yield node.lineno, f"{written}(...)"

    return find


def sleep(source: Source) -> Iterator[Breach]:
    yield from calls("time.sleep")(source)
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from ((node.lineno, ast.unparse(node)) for alias in node.names if alias.name == "sleep")


def skip(source: Source) -> Iterator[Breach]:
    for node in source.nodes:
        if isinstance(node, ast.Attribute) and node.attr.lower() in {
            "skip",
            "skipif",
            "skiptest",
            "importorskip",
        }:
            yield node.lineno, ast.unparse(node)


def front_door(source: Source) -> Iterator[Breach]:
    for node in source.nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            if "perdure" in modules:
                yield node.lineno, ast.unparse(node)


_FUNCTION = "def long():\n" + "    pass\n" * FUNCTION_LINES_MAX

LAWS = [
    Law(
        f"no module has more than {MODULE_LINES_MAX} lines",
        "It has two reasons to change: find the second, and give it a module named after what it is.",
        python(),
        long_module,
        Source("framework/perdure/core/a.py", "x = 1\n" * (MODULE_LINES_MAX + 1)),
    ),
    Law(
        f"no function has more than {FUNCTION_LINES_MAX} lines",
        "Name its parts; dispatch by a table of small handlers.",
        python(),
        long_function,
        Source("framework/perdure/core/a.py", _FUNCTION),
    ),
    Law(
        "no module or folder has a vague name",
        "Name it after what lives in it, or move each piece to the module that uses it.",
        python(),
        vague_name,
        Source("framework/perdure/core/utils.py", ""),
    ),
    Law(
        "no open ends in the text",
        "Do it now, or write down the limit for the user in the docs; a promise in a comment is kept by nobody.",
        everywhere,
        words(_OPEN_ENDS),
        Source("framework/perdure/core/a.py", "# TO" + "DO: later\n"),
    ),
    Law(
        "no path of one machine",
        "Take the path from an argument, from tmp_path, or from the file's own place.",
        everywhere,
        words(_MACHINE),
        Source("docs/a.md", "see /wo" + "rk/main/x\n"),
    ),
    Law(
        "no host of a package registry",
        "Name the package; which registry serves it is the reader's setting.",
        everywhere,
        words(_REGISTRIES),
        Source("docs/a.md", "https://py" + "pi.org/project/perdure\n"),
    ),
    Law(
        "no reference to a paper that is not in the repository",
        "Cite ARCHITECTURE.md, a page of docs/, or a finding of docs/design-findings.md by its number.",
        everywhere,
        words(_ABSENT_PAPERS),
        Source("framework/perdure/core/a.py", "# see DES" + "IGN.md §5\n"),
    ),
    Law(
        "no link to a file that is not there",
        "Mend the link, or write the page first.",
        lambda path: path.endswith(".md"),
        dead_link,
        Source("docs/a.md", "see [the map](nowhere.md)\n"),
    ),
    Law(
        "no exception is swallowed",
        "Name the exception that is expected, or record what was caught and go on.",
        python(),
        swallowed_exception,
        Source("framework/perdure/core/a.py", "try:\n    x()\nexcept Exception:\n    pass\n"),
    ),
    Law(
        "no print outside the command line",
        "A library logs: logging.getLogger(__name__). What a command prints is written in perdure/cli.",
        lambda path: (
            python("framework/", "connectors/")(path) and not path.startswith("framework/perdure/cli/")
        ),
        calls("print", "pprint"),
        Source("framework/perdure/core/a.py", "print(1)\n"),
    ),
    Law(
        "the core reads no clock, draws no random number and hashes nothing by address",
        "Take the time from the record; derive randomness from ids; `hash` and `id` differ from process to process.",
        python("framework/perdure/core/"),
        calls("now", "utcnow", "today", "uuid1", "uuid4", "urandom", "hash", "open", "input"),
        Source("framework/perdure/core/a.py", "at = datetime.now(UTC)\n"),
    ),
    Law(
        "no module of the framework comes in by the front door",
        "Import the room that has the name; `perdure/__init__.py` is for users, and importing it makes a cycle.",
        python("framework/perdure/"),
        front_door,
        Source("framework/perdure/core/a.py", "from perdure import App\n"),
    ),
    Law(
        "no test sleeps and hopes",
        "Wait on a condition with a deadline, or use the virtual clock; MAY_SLEEP has the exceptions.",
        lambda path: python("tests/")(path) and path not in MAY_SLEEP,
        sleep,
        Source("tests/a.py", "import time\ntime.sleep(1)\n"),
    ),
    Law(
        "no test of the Kafka path is skipped",
        "Start the broker (infra/kafka.sh); where it cannot start, the test fails and says why.",
        python("tests/kafka/"),
        skip,
        Source("tests/kafka/test_a.py", "@pytest.mark.skip\ndef test(): ...\n"),
    ),
]
