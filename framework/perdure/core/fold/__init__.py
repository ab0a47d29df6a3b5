"""log → state. A function of records alone: no clock, no CEL, no user code (the log is the only arbiter).

`fold(state, fact)` changes the state in place and leaves effects in `state.effects`. A record counts as a whole or not
at all; what does not count is void for every reader alike, and counted by its reason.
"""

from perdure.core.fold.journal import LEVEL, fold, too_new

__all__ = ["LEVEL", "fold", "too_new"]
