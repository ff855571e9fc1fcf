"""The SDK's own queue: calls beyond a connection's limit wait here, and are sent while they can
still be in time.

`queue` makes the decisions, without threads or tasks; `threads` and `tasks` make callers wait.
"""
