"""Who asks, in which trace, and whom it trusts."""

import asyncio
import logging
import re
import socket
import threading
import time

import pytest
import trustme
import uvicorn

from clients.api_key import read_api_key
from clients.policy_client import AsyncPolicyClient, PolicyClient
from lamo.errors import ConfigError, Draining, InternalError, ServiceUnreachable, Unauthorized
from tests.clients.fake_service import FakeService

KEY = "lamo_0123456789abcdef"


def test_a_key_is_sent_with_every_request_and_shown_nowhere(connect, url, service, caplog):
    caplog.set_level(logging.DEBUG)
    service.key = KEY
    client = connect(url, api_key=KEY)
    episode = client.start()
    episode.act([0, 0, 0])
    episode.end(1.0)
    assert {headers["authorization"] for headers in service.headers} == {f"Bearer {KEY}"}
    assert KEY not in caplog.text
    assert KEY not in repr(client.access)


def test_a_key_that_is_not_known_is_an_error_without_the_key(connect, url, service):
    service.key = KEY
    with pytest.raises(Unauthorized, match="names no key that is known here") as raised:
        connect(url, api_key="another").policies()
    assert "another" not in str(raised.value)
    assert len(service.requests) == 1


@pytest.mark.parametrize("key", ["", "with blank", "line\nbreak", "schlüssel"])
@pytest.mark.parametrize("kind", [PolicyClient, AsyncPolicyClient])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(kind, key):
    with pytest.raises(ConfigError, match="the API key is empty, or holds") as raised:
        kind("http://localhost", api_key=key)
    assert not key or key not in str(raised.value)


@pytest.mark.parametrize("kind", [PolicyClient, AsyncPolicyClient])
def test_a_password_in_the_address_is_refused_and_not_shown(kind):
    with pytest.raises(ConfigError, match="give an API key instead") as raised:
        kind("http://robot:hidden@localhost:8000")
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("url", ["http://localhost:99999", f"http://{'a' * 64}.test", "http://a..test"])
@pytest.mark.parametrize("kind", [PolicyClient, AsyncPolicyClient])
def test_an_address_that_no_network_has_is_refused(kind, url):
    with pytest.raises(ConfigError, match=re.escape(url)):
        kind(url)


def test_all_tries_of_a_call_are_one_trace_with_request_ids_of_their_own(connect, url, service):
    client = connect(url)
    service.refuse(Draining("shutting down"), times=2)
    client.policies()
    client.policies()
    traces = [headers["traceparent"] for headers in service.headers]
    assert all(re.fullmatch("00-[0-9a-f]{32}-[0-9a-f]{16}-00", trace) for trace in traces)
    assert traces[0] == traces[1] == traces[2] != traces[3]
    assert len({headers["x-request-id"] for headers in service.headers}) == 4


def test_a_caller_may_have_a_trace_of_its_own(connect, url, service):
    mine = f"00-{'ab' * 16}-{'cd' * 8}-01"
    connect(url, traceparent=lambda: mine).policies()
    assert service.headers[0]["traceparent"] == mine


def test_an_error_says_which_request_it_was(connect, url, service):
    client = connect(url)
    service.refuse(InternalError("the unforeseen", request_id="of-the-document"))
    service.refuse(InternalError("the unforeseen"), headers={"X-Request-Id": "of-the-header"})
    for request_id in ("of-the-document", "of-the-header"):
        with pytest.raises(InternalError) as raised:
            client.policies()
        assert raised.value.request_id == request_id


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A private certificate authority, and the file that says so."""
    authority = trustme.CA()
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(file)
    return authority, file


@pytest.fixture(scope="module")
def secured_url(authority, tmp_path_factory):
    """A fake service behind TLS, with a certificate of the private authority."""
    file = tmp_path_factory.mktemp("service") / "service.pem"
    authority[0].issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(file)
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        FakeService().app, ssl_certfile=file, log_level="critical", log_config=None, lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.005)
    yield f"https://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def test_a_private_authority_is_trusted_where_it_is_named(connect, secured_url, authority):
    client = connect(secured_url, ca_file=authority[1])
    assert client.start().act([0, 0, 0]).step == 0
    with pytest.raises(ServiceUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        connect(secured_url, deadline_seconds=0.5).policies()


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cannot_be_read_are_named(tmp_path, content):
    broken = tmp_path / "ca.pem"
    if content is not None:
        broken.write_text(content)
    words = r"ca\.pem cannot be read as certificates"
    with pytest.raises(ConfigError, match=words), PolicyClient("https://localhost", ca_file=broken):
        pass
    with pytest.raises(ConfigError, match=words):
        asyncio.run(AsyncPolicyClient("https://localhost", ca_file=broken).__aenter__())


def test_certificates_for_http_are_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="ca_file is for https, url 'http://localhost' does not begin with"):
        PolicyClient("http://localhost", ca_file=tmp_path / "ca.pem")


def test_a_command_finds_its_key_in_a_file_or_in_its_environment(tmp_path):
    file = tmp_path / "key"
    file.write_text(f"{KEY}\nand a remark\n")
    assert read_api_key(file, {"LAMO_API_KEY": "another"}) == KEY
    assert read_api_key(None, {"LAMO_API_KEY": "another"}) == "another"
    assert read_api_key(None, {}) is None
    with pytest.raises(ConfigError, match=r"API key file .*nowhere cannot be read: No such file"):
        read_api_key(tmp_path / "nowhere", {})
