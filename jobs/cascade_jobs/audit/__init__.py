"""An append-only log of decisions in which changes can be detected: RFC 6962's Merkle tree."""
