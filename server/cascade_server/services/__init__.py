"""The RPCs: thin shells between the transport and what answers."""
