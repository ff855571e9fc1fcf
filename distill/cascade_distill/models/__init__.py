"""What is learnt: the teacher, the student, and what they see of a number."""
