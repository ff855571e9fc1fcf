"""The RPCs of Arrow Flight: job results for any Flight client; see docs/adr/0024."""
