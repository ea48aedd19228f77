"""What carries the messages of a node's groups to its peers, over TCP."""
