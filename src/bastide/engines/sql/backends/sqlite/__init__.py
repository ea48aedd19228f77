"""SQLite: one file a client, one commit for all that wait."""
