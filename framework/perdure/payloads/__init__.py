"""What becomes of values on their way into the log and out of it: compressed, encrypted, or kept beside it."""
