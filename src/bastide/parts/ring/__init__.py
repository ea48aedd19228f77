"""ring: which of several servers a key belongs to."""
