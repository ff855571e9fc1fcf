"""Shared by all tests."""

from hypothesis import settings

# Hypothesis fails an example that takes longer than .2 s, which says something of the machine.
settings.register_profile("without-a-clock", deadline=None)
settings.load_profile("without-a-clock")
