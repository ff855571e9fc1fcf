"""Exact relations between numbers: how they are found in a table, and measured in any rows."""
