"""Locust's users: callers of a server as they come, one file a kind of them.

`loadtest/locustfile.py` has them all. None is a package that Locust has to be there for: whoever
imports a user has it.
"""
