"""TLS: the certificate a service shows, read once before anything else is started."""

from __future__ import annotations

import ssl
from pathlib import Path

from lamo.errors import ConfigError
from service.settings import Settings


def context(settings: Settings) -> ssl.SSLContext | None:
    """What the settings ask for, TLS 1.2 at least; None if they ask for plain HTTP.

    Raises:
        ConfigError: a file cannot be read, is no certificate or key, or they do not belong together.
    """
    certificate, key = settings.tls_certificate, settings.tls_key
    if certificate is None:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.options |= ssl.OP_NO_RENEGOTIATION  # each costs the server many times what it costs the client
    try:
        made.load_cert_chain(certificate, key, _password(settings.tls_key_password_file))
    except (OSError, ValueError) as error:  # an SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise ConfigError(
            f"TLS certificate {certificate} with key {key or certificate} cannot be used: {reason}"
        ) from error
    return made


def _password(file: Path | None) -> bytes:
    """The first line of a file; without one an empty password, since OpenSSL would ask on the terminal for none."""
    if file is None:
        return b""
    try:
        return file.read_bytes().partition(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise ConfigError(f"TLS key password file {file} cannot be read: {error.strerror}") from error
