"""One column at a time: its values to and from tokens."""
