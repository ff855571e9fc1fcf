"""Numbers that follow from others in their row, by the exact relations of their table."""
