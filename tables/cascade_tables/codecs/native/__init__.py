"""Compiled conversion of one row from the wire to tokens and back, if the library was built."""
