"""Processes: how they are started, monitored and ended, and the connections between them."""
