"""The policy behind Ray Serve: batched by `@serve.batch`, one replica, which keeps the windows.

It runs in the two modes that Ray's documentation names for high throughput, HAProxy in front and throughput
optimized, which made it four times as fast here. HAProxy listens on ports 8404 and 9101 too.
"""

from __future__ import annotations

import os
import signal
import threading

os.environ |= {  # read when Ray is imported, here and by what it starts
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
}

import ray
from history import BATCH_LIMIT, HOST, History, Step, port
from ray import serve
from starlette.requests import Request

BATCH_WAIT_SECONDS = 0.01
"""Ray's own default."""


@serve.deployment(num_replicas=1, max_ongoing_requests=4 * BATCH_LIMIT, ray_actor_options={"num_cpus": 1})
class PolicyServer:
    """The one replica."""

    def __init__(self) -> None:
        self._history = History.open()

    async def __call__(self, request: Request) -> dict[str, list[float]]:
        """Answer one request."""
        action: list[float] = await self.act(Step.model_validate_json(await request.body()))
        return {"action": action}

    @serve.batch(max_batch_size=BATCH_LIMIT, batch_wait_timeout_s=BATCH_WAIT_SECONDS)
    async def act(self, steps: list[Step]) -> list[list[float]]:
        """An action for each step of a batch."""
        return self._history.act(steps)


if __name__ == "__main__":
    ray.init(num_cpus=2, _node_ip_address=HOST, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": HOST, "port": port()})
    quiet = {"enable_access_log": False, "log_level": "WARNING"}
    serve.run(PolicyServer.bind(), route_prefix="/act", logging_config=quiet)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    serve.shutdown()
    ray.shutdown()
