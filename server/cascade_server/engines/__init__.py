"""Networks, what waits for them, and the noise that they draw with."""
