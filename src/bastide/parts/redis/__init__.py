"""redis: a client of Redis that pipelines by itself."""
