"""Access control: who may call what, and how much; pure functions inside a thin layer of I/O."""
