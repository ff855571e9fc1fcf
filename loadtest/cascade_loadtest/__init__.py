"""Load for a server, from outside: generators of calls, and the judge of what was promised.

`h2load` asks as fast as it is answered, from nghttp2's program, and is what latency and throughput
are measured with. `stream_loop` does the same over standing streams. `open_loop` asks at times set
beforehand, whatever the server does, which is what overload is. `core_speed` watches how fast the
machine itself is meanwhile. The Locust users of `loadtest/locustfile.py` are callers as they come,
and `sla` judges what they were given.
"""
