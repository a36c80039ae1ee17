"""ASGI: the HTTP application in front of whatever serves, in this process or beyond a socket. Loads no torch."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Security
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Lifespan, Receive, Scope, Send

from lamo.errors import ServiceError
from service.metrics import Metrics
from service.owners.keys_file import KeysFile
from service.serving import Serving
from service.version import server_version
from service.web.admission import Admission
from service.web.document import DESCRIPTION, SERVERS, completed
from service.web.hot import Hot
from service.web.intake import Intake
from service.web.problems import Problems
from service.web.routes import KEY, probes, router


def asgi_app(
    serving: Serving,
    metrics: Metrics,
    *,
    keys: KeysFile | None,
    lifespan: Lifespan[FastAPI],
    max_body_bytes: int,
) -> Application:
    """Routes, one handler for every failure, keys if there are any, and limits on what comes in."""
    app = Application(
        title="LaMo serving",
        description=DESCRIPTION,
        version=server_version(),
        servers=SERVERS,
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
    )
    app.state.serving, app.state.metrics = serving, metrics
    app.include_router(router, dependencies=[] if keys is None else [Security(KEY)])
    app.include_router(probes)
    problems = Problems(metrics)
    for failure in (ServiceError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(failure, problems.handle)
    app.intake = Intake(app.beyond_intake, Hot(serving, problems), Admission(keys), problems, max_body_bytes)
    return app


class Application(FastAPI):
    """FastAPI behind an intake, which everything meets before FastAPI's own middleware, and acts instead of it."""

    intake: Intake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.intake(scope, receive, send)

    def openapi(self) -> dict[str, Any]:
        """What `/openapi.json` answers."""
        if self.openapi_schema is None:
            self.openapi_schema = completed(super().openapi())
        return self.openapi_schema

    async def beyond_intake(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that the intake lets through."""
        await super().__call__(scope, receive, send)
