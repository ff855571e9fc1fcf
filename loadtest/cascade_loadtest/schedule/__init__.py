"""When calls are due: curves of calls a second, arrivals on them, and traces of real callers."""
