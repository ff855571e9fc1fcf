"""What is loaded, which version answers, and how that changes while calls are answered."""
