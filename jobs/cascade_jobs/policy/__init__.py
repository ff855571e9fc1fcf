"""The policy: where tables may be stored, which executors may run their jobs, and its
enforcement.
"""
