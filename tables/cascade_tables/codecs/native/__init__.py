"""One row from the wire to tokens and back in compiled code, where that was built."""
