"""What all processes of a server see: counters by age, latencies, trials, and who answers."""
