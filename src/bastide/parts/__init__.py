"""Libraries that share their caller's commit."""
