"""What operators watch besides the counts: traces, exemplars, and the log."""
