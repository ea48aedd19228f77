"""console: the town as it runs."""
