"""The training loop, when it ends, and what it tells whoever watches."""
