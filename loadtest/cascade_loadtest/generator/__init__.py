"""An open loop in separate processes: calls when they are due, with exact latencies."""
