"""What is learnt, and what learning takes: how close rows are to real ones, and time and memory."""
