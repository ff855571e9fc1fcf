"""Descriptions written beside a job's rows, for programs that read data sets."""
