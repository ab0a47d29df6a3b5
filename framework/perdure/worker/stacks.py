"""Where another thread is right now."""

from __future__ import annotations

import sys
import traceback

__all__ = ["stack_of"]

_FRAMES_MAX = 12


def stack_of(thread: int, *, inside: str = "") -> str | None:
    """The newest frames of a thread as a traceback shows them, those within the last one of the file `inside`.

    None if the thread has ended.
    """
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage] - documented all the same
    if frame is None:
        return None
    frames = traceback.extract_stack(frame)
    outside = max((n for n, each in enumerate(frames, 1) if each.filename == inside), default=0)
    return "".join(traceback.format_list(frames[outside:])[-_FRAMES_MAX:]).rstrip()
