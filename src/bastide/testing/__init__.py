"""For tests of bastide, and of any Python project: a town in process, or one of its protocols."""
