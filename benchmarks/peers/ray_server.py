"""The policy behind Ray Serve: batched by `@serve.batch`, one replica, which keeps the windows."""

from __future__ import annotations

import signal

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
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="warning")
    serve.start(http_options={"host": HOST, "port": port()})
    quiet = {"enable_access_log": False, "log_level": "WARNING"}
    serve.run(PolicyServer.bind(), route_prefix="/act", logging_config=quiet)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
