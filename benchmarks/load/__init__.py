"""Servers under load, ours and their peers: how fast, how steady, and what they cost."""
