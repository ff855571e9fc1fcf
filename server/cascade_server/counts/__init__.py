"""What happened, counted in memory that all processes see, and told as metrics."""
