"""What happens beyond capacity, as callers of several kinds see it."""
