"""A person opens it."""
