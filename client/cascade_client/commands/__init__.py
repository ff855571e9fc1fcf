"""The commands of `cascade` that query or control a running server."""
