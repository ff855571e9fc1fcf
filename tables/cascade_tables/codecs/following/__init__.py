"""Numbers that follow from others of their row, by the exact relations of their table."""
