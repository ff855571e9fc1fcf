"""Where data already lives: tables read from, and written to, what a URL names.

A source is copied into one local file first (`sources`), which readers of files then go through as
often as they need: a database need not give the same rows twice. A sink is written once, whole
(`sinks`): in one transaction, or under a name that appears when all is there.

Whatever is imported besides pyarrow is imported when a URL asks for it.
"""
