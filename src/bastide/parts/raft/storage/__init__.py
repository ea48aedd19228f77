"""What a node keeps of one group: vote, log and last snapshot, in one directory."""
