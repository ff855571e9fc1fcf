"""The networks, the queues in front of them, and the noise that they draw with."""
