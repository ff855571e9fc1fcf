"""HTTP/2 and gRPC attacks on a server, beside a caller who means well; see `__main__`."""
