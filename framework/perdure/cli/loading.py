"""From `shop.py:app` to the app: where its code is, importing it, and saying what is wrong with it."""

from __future__ import annotations

import difflib
import importlib
import importlib.machinery
import re
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from perdure.cli.wording import listed, shown_path
from perdure.errors import PerdureError, UsageError

if TYPE_CHECKING:
    from perdure.app import App

DEFAULT = "app"
NOT_LOADED = 3
"""The exit code of a process that cannot use the code; it has said why."""
_OWN = str(Path(__file__).resolve().parents[1])


class NotLoaded(UsageError):
    """The code of an app cannot be used; the message is ready to be shown, and may have several lines."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an app is."""

    root: Path
    """The folder from which its module is imported; it is watched for changes."""
    module: str
    attribute: str
    """Empty when none was named."""
    file: Path | None
    """None for a module that is found by its name."""
    shown: str


def place_of(text: str) -> Place:
    """The place that `FILE[:name]` or `module[:name]` means. Raises NotLoaded if there can be no such place."""
    path, colon, attribute = text.rpartition(":")
    if not colon:
        path, attribute = text, ""
    if not path or (colon and not all(part.isidentifier() for part in attribute.split("."))):
        raise NotLoaded(f"{text!r} does not name an app: write it as shop.py:app, or as module:app")
    file = _file_of(path)
    if file is not None:
        root, module = _module_of(file)
        return Place(root, module, attribute, file, text)
    if not all(part.isidentifier() for part in path.split(".")):
        raise NotLoaded(_no_file(path))
    return Place(Path.cwd(), path, attribute, None, text)


def _file_of(path: str) -> Path | None:
    """The file that is meant, when a file is."""
    for candidate in (Path(path), Path(path + ".py"), Path(path, "__init__.py")):
        if candidate.is_file():
            return candidate.resolve()
    if path.endswith(".py") or "/" in path:
        raise NotLoaded(_no_file(path))
    return None


def _no_file(path: str) -> str:
    wanted = Path(path)
    folder = wanted.parent if wanted.parent.is_dir() else Path()
    names = sorted(file.name for file in folder.glob("*.py"))
    near = difflib.get_close_matches(wanted.name, names, n=1) or names[:1]
    hint = f"; did you mean {folder / near[0]}?" if near else ""
    return f"there is no file {path} in {Path.cwd()}{hint}"


def _module_of(file: Path) -> tuple[Path, str]:
    """The folder to import from and the module's name: a file in a package is imported as a part of that."""
    parts = [] if file.name == "__init__.py" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


# --- importing --------------------------------------------------------------------------------------------------------


def load(place: Place) -> App:
    """Imports the code and returns the app. Raises NotLoaded, with what to do."""
    sys.path.insert(0, str(place.root))
    try:
        module = importlib.import_module(place.module)
    except SyntaxError as error:
        raise NotLoaded(_syntax_error(error, place)) from error
    except ModuleNotFoundError as error:
        if place.file is None and error.name and (place.module + ".").startswith(error.name + "."):
            raise NotLoaded(_no_module(place)) from error
        raise NotLoaded(_import_error(place, error)) from error
    except (Exception, SystemExit) as error:
        raise NotLoaded(_import_error(place, error)) from error
    return _app_in(module, place)


def _no_module(place: Place) -> str:
    path = Path(*place.module.split("."))
    candidates = [path.with_suffix(".py"), path / "__init__.py"]
    found = sorted(file for name in candidates for file in place.root.glob(f"*/{name}"))
    attribute = f":{place.attribute}" if place.attribute else ""
    hint = f"; did you mean {shown_path(found[0])}{attribute}?" if found else ""
    return f"there is no module {place.module!r}, and no file {candidates[0]} in {place.root}{hint}"


def _app_in(module: ModuleType, place: Place) -> App:
    from perdure.app import App

    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    source = place.file.name if place.file is not None else place.module
    attribute = place.attribute or (apps[0] if len(apps) == 1 else DEFAULT)
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if isinstance(found, App):
        return found
    path = place.shown.removesuffix(f":{place.attribute}") if place.attribute else place.shown
    is_one = "" if found is None else f"{attribute!r} is {_kind(found)}, not an App"
    if not apps:
        write = f'write app = App("{place.module.rpartition(".")[2]}") in it'
        raise NotLoaded(f"{source}: {is_one}; {write}" if is_one else f"{source} has no App: {write}")
    choices = listed((f"{path}:{name}" for name in apps), "or")
    what = f": {is_one}" if is_one else f" has no {attribute!r}"
    raise NotLoaded(f"{source}{what}; use {choices}")


def _kind(value: object) -> str:
    name = "class" if isinstance(value, type) else type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _syntax_error(error: SyntaxError, place: Place) -> str:
    lines = "".join(traceback.format_exception_only(error)).rstrip().splitlines()
    file, line = (error.filename, error.lineno) if error.filename else _nul(error, place)
    where = f"{shown_path(file)}, line {line}" if line else shown_path(file)
    code = [line for line in lines[:-1] if not line.lstrip().startswith('File "')]
    return "\n".join([f"{where}: {lines[-1]}", *code])


def _nul(error: SyntaxError, place: Place) -> tuple[str, int | None]:
    """The file and line of a NUL byte, of which the compiler names neither: in the app, or what was being imported."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _users(frame.filename)]
    names = re.findall(r"[\w.]+", (frames[-1].line or "") if frames else place.module)
    found = [importlib.machinery.PathFinder.find_spec(name) for name in names if name[0] != "."]
    files = [place.file, *(Path(spec.origin) for spec in found if spec is not None and spec.origin)]
    for file in files:
        data = file.read_bytes() if file is not None and file.suffix == ".py" else b""
        if b"\0" in data:
            return str(file), data[: data.index(b"\0")].count(b"\n") + 1
    return place.shown, None


def _import_error(place: Place, error: BaseException) -> str:
    """What went wrong, and the user's lines on the way there."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _users(frame.filename)]
    if isinstance(error, PerdureError):
        message = str(error)
    else:
        message = "".join(traceback.format_exception_only(error)).strip()
    inside = [frame for frame in frames if Path(frame.filename).is_relative_to(place.root)]
    shown = inside or frames
    if not shown:
        return f"{place.shown} cannot be imported: {message}"
    last = shown[-1]
    lines = [f"{shown_path(last.filename)}, line {last.lineno}: {message}"]
    lines += [
        f"  {shown_path(frame.filename)}:{frame.lineno}  {frame.line or ''}".rstrip() for frame in shown
    ]
    return "\n".join(lines)


def _users(filename: str) -> bool:
    return not (filename.startswith((_OWN, "<frozen ")) or filename == importlib.__file__)
