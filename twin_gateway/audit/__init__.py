"""The audit journal: append-only, durable before the deed."""
