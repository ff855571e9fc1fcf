"""Two columns in one type: cells that came from a server, and those that a caller's column has."""
