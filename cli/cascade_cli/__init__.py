"""The `cascade` program: one command line for the commands of all packages."""
