"""Connections that died in silence: whoever finds out loses one try, not one for each of them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from clients.policy_client import AsyncPolicyClient, PolicyClient
from tests.faults.link import Link

AT_ONCE = 6

DEADLINE_SECONDS = 3.0
"""The first try gets half of it; a second one on a dead connection would take a quarter, and so on."""


def test_calls_at_once_leave_no_connection_that_costs_a_second_try(link: Link) -> None:
    async def talk() -> float:
        async with AsyncPolicyClient(link.url, deadline_seconds=DEADLINE_SECONDS) as client:
            link.latency_seconds = 0.02
            await asyncio.gather(*[client.policies() for _ in range(AT_ONCE)])
            await asyncio.to_thread(link.silence)
            began = asyncio.get_running_loop().time()
            await client.policies()
            return asyncio.get_running_loop().time() - began

    assert DEADLINE_SECONDS / 2 <= asyncio.run(talk()) < 0.7 * DEADLINE_SECONDS


def test_threads_that_share_a_client_do_not_either(link: Link) -> None:
    together = Barrier(AT_ONCE)

    def ask(client: PolicyClient) -> None:
        together.wait()
        client.policies()

    one = PolicyClient(link.url, deadline_seconds=DEADLINE_SECONDS)
    with one as client, ThreadPoolExecutor(AT_ONCE) as threads:
        link.latency_seconds = 0.02
        for _ in threads.map(ask, [client] * AT_ONCE):
            pass
        link.silence()
        before = client.patience()
        client.policies()
        assert DEADLINE_SECONDS / 2 <= before.spent_seconds < 0.7 * DEADLINE_SECONDS
