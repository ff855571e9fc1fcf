"""Common types for two columns: cells from a server, and those of a caller's column."""
