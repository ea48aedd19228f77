"""The front that the town has of any backend, and a store of one node in memory."""
