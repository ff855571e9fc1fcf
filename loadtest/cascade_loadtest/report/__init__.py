"""What a run has found, for people: a table in the terminal, and a page of HTML by itself."""
