"""The operations page, the alerts and the dashboard: of every metric and option that there is, and of no other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import Metric

from lamo.errors import ServiceError
from service.metrics import Metrics
from service.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
ALERTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "docker/alerts.yml").read_text(encoding="utf-8"))["groups"][
    0
]["rules"]
DASHBOARD = json.loads((ROOT / "docker/dashboards/lamo.json").read_text(encoding="utf-8"))
PANELS = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
EXPRESSIONS = [*(alert["expr"] for alert in ALERTS), *PANELS]
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}


def families() -> list[Metric]:
    return list(Metrics().registry.collect())


def series() -> set[str]:
    """The names that a query may use."""
    return {family.name + suffix for family in families() for suffix in SUFFIXES[family.type]}


def told() -> set[str]:
    """The names as the contract writes them."""
    return {family.name + ("_total" if family.type == "counter" else "") for family in families()}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_query_asks_for_series_that_the_service_has(expression: str) -> None:
    names = set(re.findall(r"\blamo_\w+", expression))
    assert names <= series()
    assert names or expression.startswith("up{")


def test_reasons_in_queries_are_kinds_of_error() -> None:
    asked = {kind for text in re.findall(r'reason=~?"([^"]+)"', " ".join(EXPRESSIONS)) for kind in text.split("|")}
    assert asked
    assert asked <= {error.kind for error in ServiceError.subclasses()}


def test_the_page_explains_every_metric_and_no_other() -> None:
    explained = re.findall(r"^\| `(lamo_\w+)", PAGE, re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert set(explained) == told()
    assert set(re.findall(r"\blamo_\w+", PAGE)) <= told() | series()


def test_the_page_says_what_to_do_about_every_alert() -> None:
    assert re.findall(r"^\| `(Lamo\w+)`", PAGE, re.MULTILINE) == [alert["alert"] for alert in ALERTS]
    for alert in ALERTS:
        assert alert["labels"]["severity"] in ("page", "ticket")
        assert alert["annotations"]["summary"]


def test_every_option_on_the_page_is_one_of_the_service() -> None:
    options = {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    elsewhere = {"--file", "--out", "--revisions", "--scale", "--user"}
    assert set(re.findall(r"(?<=[ `])--[a-z][a-z-]+", PAGE)) <= options | elsewhere
    assert set(re.findall(r"LAMO_[A-Z_]+", PAGE)) <= {f"LAMO_{name.upper()}" for name in Settings.model_fields}


def block(heading: str) -> str:
    """The first shell block below a heading of the page."""
    found = re.search(rf"^#+ {heading}\n.*?^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def test_a_backup_as_the_page_makes_it_brings_back_what_was_there(tmp_path: Path) -> None:
    server = shutil.which("redis-server")
    version = server and subprocess.run([server, "--version"], check=True, capture_output=True, text=True).stdout
    if re.search(r"v=([7-9]|\d\d)", version or "") is None:
        pytest.skip("no redis-server of version 7 or newer on PATH")
    data, kept, socket = tmp_path / "data", tmp_path / "backup", tmp_path / "s"
    data.mkdir()
    given = {
        "BACKUP": str(kept),
        "START": f"redis-server --dir {data} --appendonly yes --save '' --port 0 --unixsocket {socket}",
    }
    functions = f'redis() {{ redis-cli -s {socket} "$@"; }}\ncopy() {{ cp -a {data}/appendonlydir "$1"; }}\n'
    script = f"""
set -eu
{functions}
up() {{ $START >/dev/null & server=$!; until redis ping 2>/dev/null | grep -q PONG; do sleep 0.05; done; }}
down() {{ kill $server; wait $server || true; }}
trap 'down' EXIT
up
redis SET before 1 >/dev/null
{block("Backup")}
redis SET after 1 >/dev/null
down
rm -r {data}/appendonlydir
redis-check-aof "$BACKUP/appendonly.aof.manifest" >/dev/null
cp -a "$BACKUP" {data}/appendonlydir
up
redis KEYS '*'
redis CONFIG GET auto-aof-rewrite-percentage
"""
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"} | given,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-3:] == ["before", "auto-aof-rewrite-percentage", "100"], done.stdout


def test_every_event_on_the_page_is_one_that_is_logged() -> None:
    table = PAGE.split("\n## Logs\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    events = {event for row in rows for event in re.findall(r"`([^`]+)`", row)}
    source = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "service").rglob("*.py"))
    assert not [event for event in events if f'"{event}"' not in source]
    assert len(events) > 10
