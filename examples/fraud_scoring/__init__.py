"""A scoring service whose feature lookups time out, and which asks Cascade for what is late."""
