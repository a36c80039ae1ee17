"""Owners: who may ask: keys, scopes, limits, and the audit log."""
