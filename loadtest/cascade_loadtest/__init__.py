"""Load for a server, from outside: generators of calls, and the judge of what was promised.

`python -m cascade_loadtest` is one run, from a server's start to a report. Its calls are those of
`generator`, an open loop in processes of its own, due when `schedule` says; Locust's users, of
`users`, are beside them, and `sla` judges what all of them were given.

For benchmarks: `h2load` asks as fast as it is answered, from nghttp2's program, and is what latency
and throughput are measured with. `stream_loop` does the same over standing streams. `open_loop` and
`callers` ask at times set beforehand, whatever the server does, which is what overload is.
`core_speed` watches how fast the machine itself is meanwhile.
"""
