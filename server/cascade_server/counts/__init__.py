"""Counts of calls and computation, how they are stored, and their export as metrics."""
