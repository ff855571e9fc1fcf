"""Networks that run on Triton servers: who is asked, what is sent, what becomes of who fails.

The decisions are pure functions (`choice`, `health`, `contract`); `peer` speaks to one server,
`fleet` looks after all of them, `batches` is a network's queue over them.
"""
