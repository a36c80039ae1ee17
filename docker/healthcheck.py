"""Healthcheck: whether this container's service says that it is ready, over HTTPS where it has a certificate."""

from __future__ import annotations

import os
import ssl
from urllib.request import urlopen

HTTPS = "LAMO_TLS_CERTIFICATE" in os.environ

# The certificate is for the name that clients know, not for this address; nothing is told to whoever answers.
CONTEXT = ssl._create_unverified_context() if HTTPS else None  # noqa: S323

urlopen(  # noqa: S310  # raises, with exit code 1, if the answer is no success
    f"{'https' if HTTPS else 'http'}://127.0.0.1:{os.environ['LAMO_PORT']}/readyz", timeout=4, context=CONTEXT
)
