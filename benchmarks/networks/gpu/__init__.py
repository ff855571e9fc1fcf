"""A release on a GPU, by several ways, and whether it draws the CPU's tokens."""
