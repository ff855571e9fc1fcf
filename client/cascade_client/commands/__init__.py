"""The commands of `cascade` that ask a running server: how it does, and what it is to do."""
