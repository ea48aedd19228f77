"""Console, and the counts that it takes of the town."""
