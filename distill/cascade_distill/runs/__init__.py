"""The run folder: files that are whole or absent, and token rows that are read from disk."""
