"""How the clients make calls: channels, deadlines, turns, retries, cached schemas, resumed streams.

`base` is the common part, `threads` is used by `Client` and `tasks` by `AsyncClient`.
"""
