"""The commands of `cascade` that ask a running server: `ask`, `jobs`, `releases` and `sla`."""
