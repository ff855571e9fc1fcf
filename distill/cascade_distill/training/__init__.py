"""The training loop, its stopping rule, and its progress reports."""
