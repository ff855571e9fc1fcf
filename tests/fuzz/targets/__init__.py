"""What is fuzzed, by whose bytes it reads."""
