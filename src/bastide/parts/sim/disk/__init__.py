"""A simulated disk: what a crash leaves of files, drawn from a seed."""
