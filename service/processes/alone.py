"""Alone: the whole service in this process, HTTP and engine on one event loop; what small hosts need."""

from __future__ import annotations

from lamo import checkpoint
from service.logs import log_to_stderr
from service.owners import audit
from service.processes.app import create_app
from service.processes.lifecycle import Lifecycle
from service.settings import Settings
from service.web import tls
from service.web.server import listen, serve_http, url_of


def serve_alone(settings: Settings) -> None:
    """Serve until told to stop.

    Raises:
        ConfigError: the port, the TLS certificate, the keys file, the audit log, the device or the data directory
            cannot be used.
        CheckpointError: a checkpoint cannot be used.
    """
    checkpoint.find(settings.policies)
    log_to_stderr(settings.log_level)
    audit.write_to(settings.audit_log)
    tls.context(settings)  # what is wrong with it is told before anything is opened
    listener = listen(settings.host, settings.port)
    app = create_app(settings, url=url_of(listener, settings))
    lifecycle: Lifecycle = app.state.lifecycle

    def drain() -> None:
        lifecycle.draining = True

    serve_http(
        app, listener, settings, refuse=app.intake.refuse, drain=drain, over=lambda: lifecycle.failure is not None
    )
    if lifecycle.failure is not None:
        raise lifecycle.failure
