"""shortener: short links that redirect, and exact counts of who followed them."""
