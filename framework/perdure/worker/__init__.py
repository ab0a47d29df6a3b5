"""Runs steps: on the event loop, in threads and in processes; bounded, timed, drained."""
