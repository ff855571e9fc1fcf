"""What TLS costs: the default server and bare echoes, with and without."""
