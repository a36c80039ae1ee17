"""Policies: revisions on disk and in memory, and the thread that runs them."""
