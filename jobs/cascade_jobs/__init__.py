"""Durable offline jobs: job specifications, the ledger that records them, and the executors.

A job is a specification divided into shards. A shard's rows are a function of the specification
alone, so that any executor may make them, any number of times, with the same bytes. A result is
recorded in the ledger before anybody is told of it, and never twice, so a process may be killed at
any moment.
"""
