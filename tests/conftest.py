"""Shared by all tests."""

from __future__ import annotations

from hypothesis import settings

# How long an example takes is the machine's affair: no test fails for it.
settings.register_profile("cascade", deadline=None)
settings.load_profile("cascade")
