"""Certificates made with openssl, of an authority that nobody else has."""

from __future__ import annotations

import subprocess
from pathlib import Path


class Authority:
    """Signs for IP addresses; its files lie in `directory`, which it makes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        usage = ["-days", "2", "-addext", "keyUsage=critical,keyCertSign"]
        self._openssl("req", "-x509", *self._key("ca"), "-out", self.path("ca.pem"), "-subj", "/CN=ca", *usage)

    def path(self, name: str) -> str:
        return str(self.directory / name)

    def sign(self, name: str, address: str) -> None:
        """`name`.pem and `name`.key for an IP address."""
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"authorityKeyIdentifier=keyid\nsubjectAltName=IP:{address}\n")
        self._openssl("req", *self._key(name), "-out", self.path(f"{name}.csr"), "-subj", f"/CN={name}")
        request = ["-req", "-in", self.path(f"{name}.csr"), "-extfile", str(extensions), "-days", "2"]
        signer = ["-CA", self.path("ca.pem"), "-CAkey", self.path("ca.key"), "-CAcreateserial"]
        self._openssl("x509", *request, *signer, "-out", self.path(f"{name}.pem"))

    def _key(self, name: str) -> list[str]:
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        return [*curve, "-keyout", self.path(f"{name}.key")]

    @staticmethod
    def _openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
