"""Whether the server can still answer: what is seen of it, and what follows from that."""
