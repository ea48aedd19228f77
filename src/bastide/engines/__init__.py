"""There is a server product of its kind."""
