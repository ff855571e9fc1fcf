"""Real-time requests over one standing stream: what `Client.session` and `AsyncClient.session` are
made of.

`messages` says what is sent and what an answer means; `threads` and `tasks` send and wait.
"""
