"""Networks that run on Triton servers: choice of server, messages, and handling of failures.

The decisions are pure functions (`choice`, `health`, `contract`); `peer` talks to one server,
`fleet` monitors all of them, and `batches` is a network's queue in front of them.
"""
