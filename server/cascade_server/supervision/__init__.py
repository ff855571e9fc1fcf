"""Processes: how they are started, heard and ended, and the lines between them."""
