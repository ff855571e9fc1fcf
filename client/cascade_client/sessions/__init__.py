"""Real-time requests over one standing stream, for `Client.session` and `AsyncClient.session`.

`messages` builds messages and interprets answers; `threads` and `tasks` send and wait.
"""
