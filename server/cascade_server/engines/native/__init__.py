"""The student's walk as compiled code, where it was built; see `walk`."""
