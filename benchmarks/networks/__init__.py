"""A release's networks without a server: how fast they draw, on a CPU and on a GPU."""
