"""Conversion between the caller's rows and the wire.

`cells` reads rows in any of their forms, `rows` packs and unpacks columns, and `wire` has the
requests and answers as protobuf messages.
"""
