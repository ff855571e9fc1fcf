"""A table's rows to tokens and back: a codec for each column, and all columns at once."""
