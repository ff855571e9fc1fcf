"""State that all of a server's processes see: counters by age, latencies, trials, live versions."""
