"""Releases: how they are written and read, fetched from a URL, and made into what Triton serves."""
