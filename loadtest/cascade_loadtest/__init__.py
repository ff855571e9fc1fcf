"""Load tests of a server: generators of calls, and a check of its service-level objectives.

`python -m cascade_loadtest` is one run, from starting a server to a report. Its calls come from
`generator`, an open loop in separate processes, at the times that `schedule` sets. Locust's users,
from `users`, run beside them, and `sla` checks the results of all of them.

For benchmarks: `h2load` runs nghttp2's program, which calls as fast as it gets answers, to measure
latency and throughput. `stream_loop` does the same over standing streams. `open_loop` and `callers`
make calls at predetermined times, whatever the server does, to create overload. `core_speed`
measures the speed of the machine meanwhile.
"""
