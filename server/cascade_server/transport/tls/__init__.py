"""TLS in the event loop: reloaded certificates, limited handshakes, encryption."""
