"""Offline jobs: their submission, the drawing of their rows, and the processes that run them."""
