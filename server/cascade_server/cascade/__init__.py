"""Checks, admits and routes requests, and draws their rows."""
