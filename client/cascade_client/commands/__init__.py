"""The commands of `cascade` that ask a running server: `ask`, `releases` and `sla`."""
