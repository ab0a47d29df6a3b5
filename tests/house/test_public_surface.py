"""What users can see changes on purpose only: the snapshot is read in every review."""

from __future__ import annotations

import difflib

from tests.house.surface import MODULES, SNAPSHOT, WRITE, surface


def test_public_surface_is_the_snapshot() -> None:
    recorded = SNAPSHOT.read_text(encoding="utf-8") if SNAPSHOT.exists() else ""
    present = surface()
    changes = difflib.unified_diff(
        recorded.splitlines(), present.splitlines(), SNAPSHOT.name, "now", lineterm=""
    )
    assert recorded == present, "\n".join(
        [f"the public surface changed. If that is meant: `{WRITE}`, and a line in CHANGELOG.md.", *changes]
    )


def test_snapshot_names_every_public_module() -> None:
    headings = [line for line in surface().splitlines() if line.startswith("# ")]
    assert [heading.split(":")[0] for heading in headings] == [f"# {name}" for name in MODULES]
