"""The bus: events leave with the rows that they tell of, and have their effect exactly once."""
