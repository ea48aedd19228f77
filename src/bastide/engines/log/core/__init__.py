"""The algorithms of the log, pure."""
