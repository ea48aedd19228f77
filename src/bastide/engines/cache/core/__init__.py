"""Which entries a full cache lets go of: four ways, one shape."""
