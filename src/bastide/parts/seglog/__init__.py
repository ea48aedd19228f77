"""A segmented append-only log: what was acknowledged survives a crash, or the loss is told."""
