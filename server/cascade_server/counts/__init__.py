"""What happened, counted once: each call, what is kept of it, and how it is told as metrics."""
