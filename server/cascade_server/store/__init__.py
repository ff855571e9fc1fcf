"""Answers that need not be drawn anew: rows made ahead of time, and answers that were given before."""
