"""The teacher and student networks, and the numeric features they take as input."""
