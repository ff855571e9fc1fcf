"""Codecs of single columns: values to tokens and back."""
