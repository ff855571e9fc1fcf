"""The student in our server and in a real Triton, and the cascade inside Triton."""
