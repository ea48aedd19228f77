"""Relays, consumers and dead letters."""
