"""Sells by HTTP, and hears itself: what the bus's doors are shown with."""
