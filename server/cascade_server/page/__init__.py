"""The operations page: what is promised, what is missed and why, for whoever watches a server.

It is served by the process that keeps the books, from what it sees there anyway; no worker is asked
for anything. `reading` and `past` turn counts that only grow into rates, percentiles and the last
hour; `snapshot` makes one value of all that is known, `findings` says what is wrong in it, and
`serving` gives it to browsers.
"""
