"""The ledger: what an agent has spent in the last 24 hours, and what it may still spend (contract C3)."""
