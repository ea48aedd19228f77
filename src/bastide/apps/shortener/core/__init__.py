"""What is pure: addresses, codes, keys, clicks."""
