"""What the override for several replicas and its proxy's configuration promise; nothing is started for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from service.settings import Settings

ROOT = Path(__file__).parents[2]
CONFIG = (ROOT / "docker/haproxy.cfg").read_text(encoding="utf-8")


class Overrides(yaml.SafeLoader):
    """Reads Compose's `!reset`, which removes what another file says, as None."""


Overrides.add_constructor("!reset", lambda loader, node: None)
BASE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
SCALED: dict[str, Any] = yaml.load((ROOT / "docker/compose.scale.yml").read_text(encoding="utf-8"), Overrides)[
    "services"
]


def seconds(name: str) -> float:
    """A `timeout` of the configuration."""
    [value] = re.findall(rf"^ *timeout {name} (\d+)s$", CONFIG, re.MULTILINE)
    return float(value)


def default(name: str) -> float:
    return float(Settings.model_fields[name].default)


def test_the_port_of_this_machine_moves_from_the_service_to_the_proxy() -> None:
    assert SCALED["proxy"]["ports"] == BASE["service"]["ports"]
    assert SCALED["service"]["ports"] is None
    assert re.search(r"^ *bind :8000$", CONFIG, re.MULTILINE)


def test_the_proxy_has_no_more_privileges_than_our_own_containers() -> None:
    proxy = SCALED["proxy"]
    for name in ("init", "read_only", "tmpfs", "cap_drop", "security_opt"):
        assert proxy[name] == BASE["service"][name]
    assert proxy["user"] == "haproxy"
    assert proxy["volumes"] == ["./docker/haproxy.cfg:/usr/local/etc/haproxy/haproxy.cfg:ro"]


def test_only_the_proxy_is_new() -> None:
    assert set(SCALED) - set(BASE) == {"proxy"}
    assert SCALED["evaluate"]["command"] == [
        word.replace("service", "proxy") for word in BASE["evaluate"]["command"]
    ]


def test_limits_are_the_services_own() -> None:
    limits = re.findall(r"deny_status 413 if \{ req.hdr_val\(content-length\) gt (\d+) \}", CONFIG)
    assert limits == [str(Settings.model_fields["max_body_bytes"].default)]
    assert seconds("http-request") == default("client_timeout_seconds")


def test_the_proxy_waits_longer_than_the_service_needs_to_refuse() -> None:
    assert seconds("server") > default("hang_seconds") + default("queue_seconds") + default("store_timeout_seconds")


def test_a_replica_that_leaves_answers_until_the_proxy_has_heard_of_it() -> None:
    drain_seconds = float(SCALED["service"]["environment"]["LAMO_DRAIN_SECONDS"])
    [(every, then, refusals)] = re.findall(r"inter (\d+)ms fastinter (\d+)ms fall (\d+)", CONFIG)
    assert (int(every) + int(then) * (int(refusals) - 1)) / 1000 < drain_seconds
    assert "httpchk GET /readyz" in CONFIG
    grace = int(BASE["service"]["stop_grace_period"].removesuffix("s"))
    assert grace > drain_seconds + default("grace_seconds")


def test_replicas_are_found_by_dockers_own_name_service() -> None:
    assert re.findall(r"nameserver \w+ (\S+)", CONFIG) == ["127.0.0.11:53"]
    assert len(re.findall(r"^ *server-template replica \d+ service:8000$", CONFIG, re.MULTILINE)) == 2
