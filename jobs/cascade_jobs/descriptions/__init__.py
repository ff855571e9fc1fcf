"""What is said of a job's rows beside them, for programs that read data sets."""
