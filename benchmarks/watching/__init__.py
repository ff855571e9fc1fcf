"""What it costs to be watched: a program a kind of watching."""
