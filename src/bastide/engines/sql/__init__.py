"""sql: durable rows."""
