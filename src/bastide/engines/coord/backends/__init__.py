"""The stores that a URL can name."""
