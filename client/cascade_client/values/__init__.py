"""Server answers as frozen values that print readably."""
