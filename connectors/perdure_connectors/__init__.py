"""Connectors: one module per outside system, written with the public names of perdure and nothing else.

A connector is what a user could have written: it imports `perdure`, never a room inside it. The outside system's
library is imported inside the connector's own module, so that it costs nothing to those who do not use it.
"""
