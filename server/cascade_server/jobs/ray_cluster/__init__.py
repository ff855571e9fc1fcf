"""Rows of jobs that workers of a Ray cluster draw; the ledger and the files stay the server's."""
