"""cache: what is read often, kept near."""
