"""What runs the core: its clock, its disk, its peers and the state machine it is for."""
