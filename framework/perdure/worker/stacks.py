"""Where another thread is right now."""

from __future__ import annotations

import sys
import traceback

__all__ = ["stack_of"]

_FRAMES_MAX = 12


def stack_of(thread: int) -> str | None:
    """The newest frames of a thread as a traceback shows them; None if it has ended."""
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage] - documented all the same
    return None if frame is None else "".join(traceback.format_stack(frame)[-_FRAMES_MAX:]).rstrip()
