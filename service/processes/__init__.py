"""Processes: the service in one process or in several, opened, supervised and ended."""
