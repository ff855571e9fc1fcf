"""The RPCs of Arrow Flight: results of jobs for any of its clients; see docs/adr/0024."""
