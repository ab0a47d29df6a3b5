"""How other code reaches runs: sending, starting, steering, waiting for results. Needs a log, no worker."""
