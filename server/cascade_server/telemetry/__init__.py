"""What operators watch beside the counts: traces, exemplars, and lines of the log."""
