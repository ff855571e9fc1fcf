"""What this project is measured beside: a bare echo, a real Triton with the same student, torch."""
