"""What HTTP says, as functions: nothing here waits, reads a clock or a disk."""
