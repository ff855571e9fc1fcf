"""Training data and losses for distilling a student from its teacher."""
