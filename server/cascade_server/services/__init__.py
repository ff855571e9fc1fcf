"""The RPCs: thin layers between the transport and the code that answers."""
