"""PostgreSQL: one schema a client, one pool of connections for all."""
