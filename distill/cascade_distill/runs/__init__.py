"""A run folder: its files whole or absent, and rows of tokens read where they lie."""
