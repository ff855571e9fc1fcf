"""Answers without a new draw: rows made ahead of time, and answers given before."""
