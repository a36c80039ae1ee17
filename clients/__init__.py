"""Clients of the service: for robots, simulators and batch evaluation. No torch here."""

from clients.episode import AsyncEpisode, Episode
from clients.policy_client import AsyncPolicyClient, PolicyClient
from clients.realtime import RealtimeEpisode
from clients.together import NextStep

__all__ = ["AsyncEpisode", "AsyncPolicyClient", "Episode", "NextStep", "PolicyClient", "RealtimeEpisode"]
