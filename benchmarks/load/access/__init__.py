"""What it costs to ask who asks; see `__main__`."""
