"""The student's walk as compiled code, if it was built; see `walk`."""
