"""Conversion of a table's rows to tokens and back: one codec per column, and all columns
at once.
"""
