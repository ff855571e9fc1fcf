"""Answers that need not be drawn anew: rows made ahead of time, answers that were given before."""
