"""Store: every episode in Redis, one server or a cluster."""
