"""One run of the load test: what is asked, what stands beside it, and what is judged."""
