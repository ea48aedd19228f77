"""Where the log may lie."""
