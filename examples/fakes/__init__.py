"""The outside systems of the examples: small, local, and with a memory, so that an example shows real effects."""
