"""The nemesis: faults at random over real processes, and what must be true all the same. `make chaos`."""
