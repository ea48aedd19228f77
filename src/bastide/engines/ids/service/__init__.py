"""The mint as the town holds it: ids from a lease, numbers, codes and keys from counted rows."""
