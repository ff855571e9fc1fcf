"""HTTP/2 without I/O: frames in, events and frames out, and every bound that a peer meets."""
