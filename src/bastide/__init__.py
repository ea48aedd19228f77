"""A town of real systems: see README.md and ARCHITECTURE.md."""

__version__ = "0.1.0"
