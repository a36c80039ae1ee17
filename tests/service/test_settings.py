"""Options and environment: one sentence for each that cannot be used, exit code 2."""

from __future__ import annotations

import socket

import pytest

from lamo.errors import ConfigError
from service.cli import main
from service.settings import Settings, environment_name


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(environment_name(name), raising=False)


def test_an_option_goes_before_the_environment_and_that_before_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("LAMO_PORT", "9000")
    monkeypatch.setenv("LAMO_QUEUE_LIMIT", "7")
    monkeypatch.setenv("LAMO_REPRODUCIBLE", "1")
    settings = Settings.read({"policies": tmp_path, "port": "9001"})
    assert (settings.port, settings.queue_limit, settings.batch_limit) == (9001, 7, 64)
    assert settings.reproducible


def test_every_setting_says_its_effect():
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "option --policies (LAMO_POLICIES) is missing"),
        ({"port": "x"}, "option --port (LAMO_PORT) is 'x'"),
        ({"port": "70000"}, "option --port (LAMO_PORT) is '70000'"),
        ({"dtype": "float16"}, "option --dtype (LAMO_DTYPE) is 'float16'"),
        ({"batch_limit": "0"}, "option --batch-limit (LAMO_BATCH_LIMIT) is '0'"),
        ({"workers": "-1"}, "option --workers (LAMO_WORKERS) is '-1'"),
        ({"device": "cpu,"}, "option --device (LAMO_DEVICE) is 'cpu,': name a device on either side of each comma"),
        ({"trusted_proxies": "*"}, "option --trusted-proxies (LAMO_TRUSTED_PROXIES) is '*'"),
        ({"trusted_proxies": "10.0.0.1, proxy"}, "'proxy' does not appear to be an IPv4 or IPv6 network"),
        ({"trusted_proxies": ""}, "option --trusted-proxies (LAMO_TRUSTED_PROXIES) is ''"),
        ({"tls_key": "key.pem"}, "a TLS key is given and no certificate: say --tls-certificate"),
        ({"max_connections": "0"}, "option --max-connections (LAMO_MAX_CONNECTIONS) is '0'"),
        ({"client_timeout_seconds": "inf"}, "option --client-timeout-seconds (LAMO_CLIENT_TIMEOUT_SECONDS)"),
        ({"grace_seconds": "nan"}, "option --grace-seconds (LAMO_GRACE_SECONDS) is 'nan'"),
    ],
    ids=str,
)
def test_a_bad_option_is_refused_by_name(options, sentence, tmp_path):
    with pytest.raises(ConfigError) as refused:
        Settings.read(({"policies": tmp_path} if options else {}) | options)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("options", "devices", "several"),
    [
        ({}, ["auto"], False),
        ({"workers": 1}, ["auto"], True),
        ({"device": "cuda:0, cuda:1"}, ["cuda:0", "cuda:1"], True),
    ],
    ids=str,
)
def test_workers_or_devices_make_several_processes(options, devices, several, tmp_path):
    settings = Settings.read({"policies": tmp_path} | options)
    assert (settings.devices, settings.several_processes) == (devices, several)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.7", "robots.example"])
def test_a_public_address_has_to_be_asked_for(host, tmp_path):
    with pytest.raises(ConfigError, match=f"host '{host}' is not a loopback address .* --public"):
        Settings.read({"policies": tmp_path, "host": host})
    assert Settings.read({"policies": tmp_path, "host": host, "public": True}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_a_loopback_address_need_not_be_asked_for(host, tmp_path):
    assert Settings.read({"policies": tmp_path, "host": host}).host == host


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "option --policies (LAMO_POLICIES) is missing"),
        (["--polices", "x"], "unrecognized arguments: --polices x"),
        (["--policies"], "argument --policies: expected one argument"),
        (["--policies", "/nowhere/policies"], "there is no policies folder /nowhere/policies"),
        (["--policies", "/", "--host", "0.0.0.0"], "is not a loopback address"),
    ],
    ids=str,
)
def test_the_command_ends_with_one_sentence_and_code_2(arguments, sentence, capsys):
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("lamo-serve: ")
    assert sentence in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_port_that_is_taken_is_told_with_its_number(checkpoint_directory, capsys, workers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert (
            main(["--policies", str(checkpoint_directory.parent), "--port", str(port), "--workers", workers]) == 2
        )
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


def test_help_and_settings_never_show_the_password_of_redis(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("LAMO_REDIS_URL", "redis://lamo:s3cret@host")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "LAMO_REDIS_URL" in (told := capsys.readouterr().out)
    settings = Settings.read({"policies": tmp_path})
    assert settings.redis_url == "redis://lamo:s3cret@host"
    assert "s3cret" not in told + repr(settings)


def test_a_public_address_needs_keys_or_to_be_asked_for(tmp_path):
    asked = {"policies": tmp_path, "host": "0.0.0.0"}
    with pytest.raises(ConfigError, match=r"name a keys file with --keys \(LAMO_KEYS\), or say --public"):
        Settings.read(asked)
    assert Settings.read(asked | {"keys": tmp_path / "keys.toml"}).keys == tmp_path / "keys.toml"
    assert Settings.read(asked | {"public": True}).keys is None
