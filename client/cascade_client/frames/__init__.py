"""What is done with whole frames: holes found and filled, rows added, draws summed up; no I/O."""
