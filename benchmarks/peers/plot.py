"""The figures as a picture: an SVG that is written by hand, so that it needs nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, LEFT, RIGHT = 760, 190, 90
BAR, GAP, TITLE, AXIS = 18, 6, 34, 14
COLOURS = {"perdure": "#2563eb"}
OTHER = "#94a3b8"
CELLS = (
    ("W1", "p50_ms", "one step, one run at a time: p50, ms", True),
    ("W2", "p50_ms", "three steps in sequence, one run at a time: p50, ms", True),
    ("W3", "p50_ms", "100 parallel steps and a reduce, one run at a time: p50, ms", True),
    ("W2x200", "steps_per_s", "three steps in sequence, 200 runs in flight: steps per second", False),
)


def svg(summary: Sequence[Mapping[str, Any]]) -> str:
    """One panel for each figure, the best on top; a bar is the median, its whisker reaches from least to most.

    The scale is logarithmic: the systems are far apart.
    """
    panels, top = list[str](), 8
    for cell, figure, title, small_is_good in CELLS:
        rows = [row for row in summary if (row["cell"], row["figure"]) == (cell, figure)]
        rows.sort(key=lambda row: row["median"], reverse=not small_is_good)
        if rows:
            panels += _panel(
                rows, f"{title} ({'less' if small_is_good else 'more'} is better; logarithmic)", top
            )
            top += TITLE + len(rows) * (BAR + GAP) + AXIS
    style = "text{font:12px system-ui,sans-serif;fill:#334155}.t{font-weight:600}.v{fill:#0f172a}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}">',
            f'<style>{style}</style><rect width="{WIDTH}" height="{top}" fill="#ffffff"/>',
            *panels,
            "</svg>\n",
        ]
    )


def _panel(rows: Sequence[Mapping[str, Any]], title: str, top: int) -> list[str]:
    low = min(row["min"] for row in rows) / 2
    high = max(row["max"] for row in rows)
    room = WIDTH - LEFT - RIGHT

    def x(value: float) -> float:
        return LEFT + room * math.log(value / low) / math.log(high / low)

    parts = [f'<text class="t" x="8" y="{top + 18}">{escape(title)}</text>']
    for place, row in enumerate(rows):
        y = top + TITLE + place * (BAR + GAP)
        middle, name = y + BAR / 2, row["system"]
        colour = next((c for known, c in COLOURS.items() if name.startswith(known)), OTHER)
        end = x(row["median"])
        parts += [
            f'<text x="{LEFT - 8}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
            f'<line x1="{x(row["min"]):.1f}" x2="{x(row["max"]):.1f}" y1="{middle}" y2="{middle}" stroke="#0f172a"/>',
            f'<text class="v" x="{x(row["max"]) + 6:.1f}" y="{middle + 4}">{_number(row["median"])}</text>',
        ]
    return parts


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
