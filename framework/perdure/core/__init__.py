"""The pure, synchronous heart: records, state, fold and decide. No clock, no randomness, no I/O, no asyncio."""
