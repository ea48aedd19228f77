"""`redis://`: servers by a ring, near caches by client tracking, silent when their lease is
over."""
