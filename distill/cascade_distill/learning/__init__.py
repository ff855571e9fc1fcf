"""Steps that turn files into a teacher, and a teacher into a student, in a run folder."""
