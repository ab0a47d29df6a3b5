"""From FILE:app to the app, and what is said when there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.cli.loading import NotLoaded, load, place_of

APP = "from perdure.app import App\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory, and the interpreter as it was afterwards."""
    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def write(path: str, text: str) -> None:
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    "text", ["cli_shop.py:app", "cli_shop:app", "cli_shop", "cli_shop.py", "./cli_shop.py"]
)
def test_ways_to_write_a_file(text: str) -> None:
    write("cli_shop.py", APP + "app = App('shop')\n")
    assert load(place_of(text)).name == "shop"


@pytest.mark.parametrize("text", ["src/cli_store/orders.py:orders", "src/cli_store/orders:orders"])
def test_a_file_in_a_package_is_imported_as_a_part_of_it(text: str, folder: Path) -> None:
    write("src/cli_store/__init__.py", "")
    write("src/cli_store/prices.py", "NAME = 'orders'\n")
    write("src/cli_store/orders.py", APP + "from .prices import NAME\norders = App(NAME)\n")
    place = place_of(text)
    assert (place.root, place.module) == (folder / "src", "cli_store.orders")
    assert load(place).name == "orders"


def test_a_module_and_a_package(folder: Path) -> None:
    write("cli_pack/__init__.py", APP + "class Parts:\n    app = App('inner')\n")
    assert load(place_of("cli_pack:Parts.app")).name == "inner"
    write("cli_pack/deep.py", APP + "service = App('deep')\n")
    assert place_of("cli_pack.deep").root == folder
    assert load(place_of("cli_pack.deep")).name == "deep", "the only app there is"


def fault(text: str) -> str:
    with pytest.raises(NotLoaded) as caught:
        load(place_of(text))
    return str(caught.value)


def test_no_file() -> None:
    write("cli_shop.py", "")
    assert "there is no file cli_shob.py in" in fault("cli_shob.py:app")
    assert "did you mean cli_shop.py?" in fault("cli_shob.py:app")
    assert fault("cli_none:app") == f"there is no module 'cli_none', and no file cli_none.py in {Path.cwd()}"
    assert "write it as shop.py:app" in fault("cli_shop.py:")


def test_no_app() -> None:
    write("cli_two.py", APP + "one = App('one')\ntwo = App('two')\n")
    write("cli_zero.py", "x = 1\n")
    assert fault("cli_two.py") == "cli_two.py has no 'app'; use cli_two.py:one or cli_two.py:two"
    assert fault("cli_two.py:three") == "cli_two.py has no 'three'; use cli_two.py:one or cli_two.py:two"
    assert fault("cli_two.py:App") == (
        "cli_two.py: 'App' is a class, not an App; use cli_two.py:one or cli_two.py:two"
    )
    assert fault("cli_zero.py") == 'cli_zero.py has no App: write app = App("cli_zero") in it'
    assert fault("cli_zero.py:x") == (
        "cli_zero.py: 'x' is an int, not an App; write app = App(\"cli_zero\") in it"
    )


def test_a_syntax_error() -> None:
    write("cli_wrong.py", "x = 1\ndef y(:\n    pass\n")
    assert fault("cli_wrong.py").splitlines()[:2] == [
        "cli_wrong.py, line 2: SyntaxError: invalid syntax",
        "    def y(:",
    ]


def test_a_module_with_nul_bytes() -> None:
    write("cli_nul.py", "import cli_nil\n")
    write("cli_nil.py", "x = 1\ny = '\0'\n")
    told = fault("cli_nul.py")
    if sys.version_info >= (3, 11, 4):
        assert told.startswith("cli_nil.py, line 2: SyntaxError: source code")
    else:  # Python itself does not say where
        assert told.startswith("cli_nul.py, line 1: ValueError: source code string cannot contain null bytes")


def test_a_module_below_a_folder_of_sources() -> None:
    write("src/cli_deep/main.py", APP + "app = App('deep')\n")
    assert fault("cli_deep.main:app") == (
        f"there is no module 'cli_deep.main', and no file cli_deep/main.py in {Path.cwd()}; "
        "did you mean src/cli_deep/main.py:app?"
    )


def test_an_error_shows_the_users_lines_only() -> None:
    write("cli_broken.py", "import cli_inner\n")
    inner = "import functools\n\n\ndef fail(a, b):\n    raise ValueError('not today')\n\n\n"
    write("cli_inner.py", inner + "sorted([1, 2], key=functools.cmp_to_key(fail))\n")
    assert fault("cli_broken.py").splitlines() == [
        "cli_inner.py, line 5: ValueError: not today",
        "  cli_broken.py:1  import cli_inner",
        "  cli_inner.py:8  sorted([1, 2], key=functools.cmp_to_key(fail))",
        "  cli_inner.py:5  raise ValueError('not today')",
    ]


def test_an_import_of_something_else_that_is_missing_and_an_exit() -> None:
    write("cli_needs.py", "import cli_nowhere\n")
    assert fault("cli_needs:app").startswith(
        "cli_needs.py, line 1: ModuleNotFoundError: No module named 'cli_nowhere'"
    )
    write("cli_exits.py", "import sys\nsys.exit(3)\n")
    assert fault("cli_exits.py").startswith("cli_exits.py, line 2: SystemExit: 3")


def test_what_perdure_refuses_is_said_with_its_line() -> None:
    write("cli_twice.py", APP + "app = App('shop')\n\n\n@app.function(retries=-1)\nasync def f(ctx): ...\n")
    said = fault("cli_twice.py").splitlines()
    assert said[0].startswith("cli_twice.py, line 5: Retry(limit=-1): use 0 to")
    assert said[1:] == ["  cli_twice.py:5  @app.function(retries=-1)"]
