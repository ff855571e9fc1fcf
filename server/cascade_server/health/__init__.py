"""Health: observes whether the server can still answer, and reports it."""
