"""The operations page: which objectives are missed and why, for people who watch a server.

The process that keeps the books serves it from data that it sees anyway; no request goes to a
worker. `reading` and `past` turn counters into rates, percentiles and the last hour; `snapshot`
combines everything known in one value, `findings` says what is wrong in it, and `serving` sends it
to browsers.
"""
