"""Faults beneath a steady load: what callers see, for how long, and whether anything is lost."""
