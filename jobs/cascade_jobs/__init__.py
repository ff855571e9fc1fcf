"""Durable offline jobs: what a job is, the ledger that remembers it, and who works it off.

A job is a specification cut into shards. Which rows a shard has is a function of the specification
alone, so that it may be made by anybody and as often as need be, and is the same bytes each time.
What has been made is written down in a ledger before anybody is told of it, and nothing is written
down twice: that is why a process may be killed at any moment.
"""
