"""websocket: messages both ways on one connection of the HTTP server (RFC 6455, RFC 7692)."""
