"""What the server says, as frozen values that print readably."""
