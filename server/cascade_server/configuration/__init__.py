"""Where settings come from and how they are told: flags, environment, file, help, tables."""
