"""TLS: in one process and in several, and one sentence for what is no certificate with its key."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from clients.policy_client import AsyncPolicyClient, PolicyClient
from lamo.errors import ServiceUnreachable
from service.cli import main
from tests.service.conftest import OBSERVATION
from tests.service.listening import listening
from tests.service.test_process import start, wait_until

AUTHORITY = trustme.CA()

PASSWORD = b"a password"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for loopback and its key, once with a password; another certificate's key."""
    folder = tmp_path_factory.mktemp("tls")
    issued = AUTHORITY.issue_cert("127.0.0.1", "localhost")
    (folder / "certificate.pem").write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    AUTHORITY.issue_cert("127.0.0.1").private_key_pem.write_to_path(folder / "other.pem")
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    (folder / "locked.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD))
    )
    (folder / "password").write_bytes(PASSWORD + b"\n")
    (folder / "wrong").write_bytes(b"another\n")
    return folder


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@pytest.mark.anyio
@pytest.mark.parametrize(
    "files",
    [
        {"tls_certificate": "certificate.pem", "tls_key": "key.pem"},
        {"tls_certificate": "both.pem"},
        {"tls_certificate": "certificate.pem", "tls_key": "locked.pem", "tls_key_password_file": "password"},
    ],
    ids=lambda files: "+".join(files.values()),
)
async def test_a_client_that_trusts_the_authority_acts_over_tls(serve, folder, files):
    options = {name: str(folder / file) for name, file in files.items()}

    def acts(url: str) -> list[float]:
        with PolicyClient(url, transport=httpx.HTTPTransport(verify=trusting())) as client:
            return client.start().act(OBSERVATION).action

    async with listening(serve, **options) as service:
        assert service.url.startswith("https://")
        assert len(await asyncio.to_thread(acts, service.url)) == 2
        async with AsyncPolicyClient(service.url, deadline_seconds=3) as stranger:
            with pytest.raises(ServiceUnreachable, match="certificate"):
                await stranger.start()
        assert await service.exchange(b"GET /healthz HTTP/1.1\r\n\r\n") == b""


@pytest.mark.anyio
async def test_old_tls_is_not_spoken(serve, folder):
    options = {"tls_certificate": str(folder / "both.pem")}
    old = trusting()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with listening(serve, **options) as service:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await service.connect(ssl=old)
        _, writer = await service.connect(ssl=trusting())
        assert writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        writer.close()


@pytest.mark.anyio
async def test_whoever_shakes_no_hands_is_cut_off(serve, folder):
    async with listening(serve, tls_certificate=str(folder / "both.pem"), client_timeout_seconds=0.5) as service:
        reader, writer = await service.connect()
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(5):
                assert await reader.read() == b""
        writer.close()


def test_workers_speak_tls_too(checkpoint_directory, folder, tmp_path):
    options = ["--workers", "1", "--tls-certificate", str(folder / "both.pem")]
    process = start(checkpoint_directory.parent, tmp_path / "data", *options)
    log = tmp_path / "data.log"
    try:
        wait_until(lambda: '"url": "https://' in log.read_text() or process.poll() is not None)
        url = log.read_text().partition('"url": "')[2].partition('"')[0]
        with httpx.Client(base_url=url, verify=trusting(), timeout=20) as client:
            wait_until(lambda: _ready(client))
    finally:
        process.terminate()
        process.wait(30)


def _ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("workers", ["0", "1"])
@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (["nowhere.pem"], "nowhere.pem cannot be used: No such file or directory"),
        (["certificate.pem"], "cannot be used: "),
        (["password"], "cannot be used: "),
        (["certificate.pem", "other.pem"], "cannot be used: KEY_VALUES_MISMATCH"),
        (["certificate.pem", "locked.pem"], "cannot be used: "),
        (["certificate.pem", "locked.pem", "wrong"], "cannot be used: "),
        (["certificate.pem", "locked.pem", "nowhere"], "nowhere cannot be read: No such file or directory"),
    ],
    ids=str,
)
def test_what_is_no_certificate_with_its_key_ends_the_command_with_one_sentence(
    files, sentence, workers, folder, checkpoint_directory, tmp_path, capfd
):
    names = ["--tls-certificate", "--tls-key", "--tls-key-password-file"]
    arguments = [word for name, file in zip(names, files, strict=False) for word in (name, str(folder / file))]
    arguments += ["--policies", str(checkpoint_directory.parent), "--port", "0", "--workers", workers]
    assert main([*arguments, "--data-dir", str(tmp_path / "data")]) == 2
    said = capfd.readouterr().err.splitlines()
    assert said[-1].startswith("lamo-serve: ")
    assert sentence in said[-1]
    assert PASSWORD.decode() not in "".join(said)
