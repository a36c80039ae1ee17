"""Offline data: every kind that is read, what is made of it, and what draws training cuts from it."""
