"""Clients of the service: for robots, simulators and batch evaluation. No torch here."""
