"""The command line: `perdure`."""

from __future__ import annotations


def main() -> None:
    """The entry point."""
    from perdure.cli.root import app

    app(prog_name="perdure")
