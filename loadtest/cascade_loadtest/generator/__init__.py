"""An open loop in processes of its own: calls when they are due, and exactly what they took."""
