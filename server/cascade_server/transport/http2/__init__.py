"""HTTP/2 without I/O: frames in, events and frames out, and all limits on a peer."""
