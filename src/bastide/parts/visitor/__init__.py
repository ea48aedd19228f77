"""visitor: who asks, as far as a request tells."""
