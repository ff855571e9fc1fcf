"""The SDK's own queue: calls beyond those that a server lets a connection have wait here, and are
sent while they can still be in time.

`queue` decides, and knows neither threads nor tasks; `threads` and `tasks` have callers wait for
what it decides.
"""
