"""What clients saw, and whether a system may have been right to show it."""
