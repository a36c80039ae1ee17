"""A plain FastAPI loop: one route that runs the policy for each request, one after the other.

That is how policy servers for robots are usually written: inference on the event loop, no batches.
"""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI
from history import HOST, History, Step, port


def create_app(history: History) -> FastAPI:
    """The app with its one route."""
    app = FastAPI()

    @app.post("/act")
    async def act(step: Step) -> dict[str, list[float]]:
        return {"action": history.act([step])[0]}

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(History.open()), host=HOST, port=port(), log_level="warning", access_log=False)
