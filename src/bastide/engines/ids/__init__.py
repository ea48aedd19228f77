"""ids: numbers, codes and keys that never repeat."""
