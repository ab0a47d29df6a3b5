"""What users can see, as text: the names in `__all__` with their signatures as they are written in the source.

    python -m tests.house.surface --write       takes the present surface as the snapshot
    python -m tests.house.surface               prints it

Signatures are read from the source and not from objects: an annotation's text is the same on every Python, its repr is
not. A class shows its public fields, properties and methods, and those it inherits from classes of perdure.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tests.house.sources import ROOT

MODULES = ("perdure", "perdure.testing")
SNAPSHOT = Path(__file__).with_name("public_surface.txt")
WRITE = "python -m tests.house.surface --write"
_SPECIAL = {
    "__init__",
    "__call__",
    "__aenter__",
    "__aexit__",
    "__enter__",
    "__exit__",
    "__aiter__",
    "__iter__",
}

_Definition = ast.FunctionDef | ast.AsyncFunctionDef


def surface() -> str:
    """The public surface; a module that is not there yet, or exports nothing yet, shows as empty."""
    blocks: list[str] = []
    for name in MODULES:
        module = _module(name)
        exported: list[str] = sorted(getattr(module, "__all__", ()))
        blocks.append("\n".join([f"# {name}: {len(exported)} names", *_entries(module, exported)]))
    return "\n\n".join(blocks) + "\n"


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        return ModuleType(name)


def _entries(module: ModuleType, names: list[str]) -> Iterator[str]:
    for name in names:
        yield from _entry(name, getattr(module, name))


def _entry(name: str, value: object) -> Iterator[str]:
    if inspect.isclass(value) and _is_ours(value):
        yield from _class(name, value)
    elif inspect.isfunction(value):
        yield from _function(value, name)
    elif inspect.ismodule(value):
        yield f"module {name}"
    elif inspect.isclass(value):
        yield f"class {name} = {value.__module__}.{value.__qualname__}"
    elif isinstance(value, str | int | float):
        yield f"{name} = {value!r}"
    else:
        yield f"{name}: {type(value).__name__}"


def _is_ours(value: type) -> bool:
    return value.__module__.split(".")[0] in {"perdure", "perdure_connectors"}


def _class(name: str, value: type) -> Iterator[str]:
    head = _parsed(value)
    assert isinstance(head, ast.ClassDef)
    bases = [ast.unparse(base) for base in [*head.bases, *head.keywords]]
    yield f"class {name}({', '.join(bases)})" if bases else f"class {name}"
    members: dict[str, list[str]] = {}
    for owner in value.__mro__:
        if _is_ours(owner):
            for member, lines in _members(owner).items():
                members.setdefault(member, lines)
    for member in sorted(members):
        yield from (f"    {line}" for line in members[member])


def _members(owner: type) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    definition = _parsed(owner)
    assert isinstance(definition, ast.ClassDef)
    for node in definition.body:
        if (
            isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and _is_public(node.target.id)
        ):
            found[node.target.id] = [ast.unparse(node)]
        elif isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            found |= {name: [ast.unparse(node)] for name in names if _is_public(name)}
        elif isinstance(node, _Definition) and _is_public(node.name):
            lines = found.setdefault(node.name, [])
            if not any(line.startswith("@overload") for line in lines) or _is_overload(node):
                lines.append(_signature(node))
    return found


def _is_public(name: str) -> bool:
    return not name.startswith("_") or name in _SPECIAL


def _function(value: object, name: str) -> Iterator[str]:
    for variant in typing.get_overloads(typing.cast("typing.Any", value)) or [value]:
        node = _parsed(variant)
        assert isinstance(node, _Definition)
        node.name = name
        yield _signature(node)


def _parsed(value: object) -> ast.AST:
    text = textwrap.dedent(inspect.getsource(typing.cast("type", value)))
    return ast.parse(text).body[0]


def _is_overload(node: _Definition) -> bool:
    return any(ast.unparse(d).split(".")[-1] == "overload" for d in node.decorator_list)


def _signature(node: _Definition) -> str:
    kept = {"property", "staticmethod", "classmethod", "overload", "cached_property", "asynccontextmanager"}
    decorators = [name for d in node.decorator_list if (name := ast.unparse(d).split(".")[-1]) in kept]
    marks = "".join(f"@{name} " for name in decorators)
    kind = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{marks}{kind} {node.name}({ast.unparse(node.args)}){returns}"


def main(arguments: list[str]) -> None:
    sys.path[:0] = [str(ROOT / "framework"), str(ROOT / "connectors")]
    if arguments == ["--write"]:
        SNAPSHOT.write_text(surface(), encoding="utf-8")
    else:
        print(surface(), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
