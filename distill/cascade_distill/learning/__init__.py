"""From files to a teacher, and from a teacher to a student, step by step in a run folder."""
