"""Pages: the shell that every system's page stands in, its macros and its assets."""
