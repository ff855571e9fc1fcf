"""How the clients ask: channels, deadlines, turns, retries, remembered schemas, resumed streams.

`base` is what both have, `threads` is under `Client` and `tasks` under `AsyncClient`.
"""
