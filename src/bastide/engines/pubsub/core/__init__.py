"""Which channels a pattern means, and how much a subscriber may fall behind."""
