"""The image's health check against small servers: plain, with a certificate, not ready, and not there."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

SCRIPT = Path(__file__).parents[2] / "docker/healthcheck.py"


@contextmanager
def answering(status: int, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server that answers one path; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server.server_port
        server.shutdown()


def checked(port: int, **environment: str) -> int:
    """The exit code of the check in a container of this environment."""
    return subprocess.run(
        [sys.executable, str(SCRIPT)],
        env={"LAMO_PORT": str(port)} | environment,
        capture_output=True,
        check=False,
        timeout=20,
    ).returncode


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_a_container_is_healthy_while_the_service_is_ready(status: int, code: int) -> None:
    with answering(status) as port:
        assert checked(port) == code
    assert checked(port) == 1


def test_a_service_that_speaks_tls_is_asked_over_tls() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("robots.example").configure_cert(context)
    with answering(200, context) as port:
        assert checked(port, LAMO_TLS_CERTIFICATE="/run/secrets/certificate.pem") == 0
