"""Rows of jobs drawn by workers of a Ray cluster; the ledger and the files stay on the server."""
