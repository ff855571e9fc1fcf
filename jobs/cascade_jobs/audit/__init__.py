"""An append-only log of decisions, in which a change can be found: RFC 6962's Merkle tree."""
