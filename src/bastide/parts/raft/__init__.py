"""Consensus: several nodes that agree on one log, of which a minority may be gone."""
