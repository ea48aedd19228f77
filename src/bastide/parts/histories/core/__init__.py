"""The oracles, pure: each takes what was recorded and says what cannot have been."""
