"""Releases: writing, reading, transfer to and from URLs, and configuration for Triton."""
