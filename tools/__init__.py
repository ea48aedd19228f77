"""Programs that check the project or write a part of it: `python -m tools.NAME`."""
