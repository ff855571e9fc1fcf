"""Names of the headers and trailers that travel beside the wire contract's messages.

Nothing is imported here, so that whoever wants the names alone does not load protobuf.
"""

from __future__ import annotations

# Of a request to `Synthesize`: its table, and what it counts as: `full`, `offline`, or `realtime`,
# which may be left out. A server that has too much to do refuses a call at its headers, before
# there is anything of its message: these say whose error budget the refusal spends. They are not
# needed, and nothing else hangs on them: a call that is read counts as its message says.
TABLE = "cascade-table"
CLASS = "cascade-class"
