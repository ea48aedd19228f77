"""Sells, and counts who passes by."""
