"""TLS in the event loop: certificates read anew, handshakes with bounds, bytes encrypted."""
