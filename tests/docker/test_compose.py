"""What the compose file and the Dockerfiles promise; no Docker is needed to check it."""

from __future__ import annotations

import fnmatch
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = sorted(name for name, service in SERVICES.items() if "build" in service)
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
COMMITTED = [
    *DOCKERFILES,
    *ROOT.glob("docker-compose*.yml"),
    *(ROOT / "docker").glob("*.*"),
    ROOT / "docs/docker.md",
]

dockerfiles = pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.stem)
ours = pytest.mark.parametrize("name", OURS)


def instructions(dockerfile: Path) -> list[tuple[str, str]]:
    """Every instruction with its arguments, comments left out and continued lines joined."""
    lines = [line for line in dockerfile.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    words = [line.split(maxsplit=1) for line in joined if line.strip()]
    return [(word[0], word[1]) for word in words]


def final_stage(dockerfile: Path) -> list[tuple[str, str]]:
    """The instructions of the image itself, without the stages it copies from."""
    steps = instructions(dockerfile)
    last = max(index for index, (name, _) in enumerate(steps) if name == "FROM")
    return steps[last:]


def positions(steps: list[tuple[str, str]], name: str, pattern: str) -> list[int]:
    return [index for index, step in enumerate(steps) if step[0] == name and re.search(pattern, step[1])]


def test_every_image_has_a_dockerfile_of_its_own() -> None:
    used = [ROOT / SERVICES[name]["build"]["dockerfile"] for name in OURS]
    assert sorted(used) == DOCKERFILES


@dockerfiles
def test_an_image_runs_as_a_numbered_user_who_is_not_root(dockerfile: Path) -> None:
    users = [arguments for name, arguments in final_stage(dockerfile) if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


@dockerfiles
def test_every_stage_starts_from_the_tagged_slim_image(dockerfile: Path) -> None:
    bases = [arguments.split()[0] for name, arguments in instructions(dockerfile) if name == "FROM"]
    assert bases == ["python:3.11-slim"] * 4


@dockerfiles
def test_the_final_image_installs_nothing_and_takes_only_the_finished_environment(dockerfile: Path) -> None:
    stage = final_stage(dockerfile)
    assert not positions(stage, "RUN", r"\b(pip|apt|apt-get)\b")
    copied = [arguments for name, arguments in stage if name == "COPY" and "--from=" in arguments]
    assert copied == ["--from=dependencies /opt/lamo /opt/lamo", "--from=code /opt/lamo /opt/lamo"]


@dockerfiles
def test_dependencies_are_installed_pinned_and_before_the_code_is_copied(dockerfile: Path) -> None:
    steps = instructions(dockerfile)
    [dependencies] = positions(steps, "RUN", r"-c constraints\.txt -r requirements\.txt")
    code = positions(steps, "COPY", r"^(lamo|service|training|clients|examples)\b")
    assert len(code) >= 4
    assert dependencies < min(code)


@dockerfiles
def test_the_classic_builder_can_build_it(dockerfile: Path) -> None:
    steps = instructions(dockerfile)
    assert not positions(steps, "RUN", r"--(mount|network|security)\b|<<")
    assert not positions(steps, "COPY", r"--(chmod|link|parents|exclude)\b|<<")
    assert "syntax=" not in dockerfile.read_text(encoding="utf-8")


@dockerfiles
def test_processes_start_without_a_shell_so_that_signals_reach_them(dockerfile: Path) -> None:
    [entrypoint] = [arguments for name, arguments in final_stage(dockerfile) if name == "ENTRYPOINT"]
    [command] = yaml.safe_load(entrypoint)
    assert command in PROJECT["scripts"]


@dockerfiles
def test_what_is_copied_is_in_the_build_context(dockerfile: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    admitted = [line[1:] for line in lines if line.startswith("!")]
    for name, arguments in instructions(dockerfile):
        if name == "COPY" and "--from=" not in arguments:
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert any(fnmatch.fnmatch(source, pattern) for pattern in admitted), source


def test_where_packages_come_from_is_a_build_argument_of_every_image() -> None:
    for name in OURS:
        assert SERVICES[name]["build"]["args"] == ["PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"]
    for dockerfile in DOCKERFILES:
        declared = {arguments for instruction, arguments in instructions(dockerfile) if instruction == "ARG"}
        assert declared == {"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"}


def test_no_file_names_a_host_but_this_machine_and_the_containers() -> None:
    for path in COMMITTED:
        hosts = set(re.findall(r"://([\w.-]+)", path.read_text(encoding="utf-8")))
        assert hosts <= {"127.0.0.1", "redis", "service", "proxy"}, path


def test_every_image_is_named_with_a_version() -> None:
    for name, service in SERVICES.items():
        tag = service["image"].partition(":")[2]
        assert tag == (PROJECT["version"] if name in OURS else "7")


def test_only_the_service_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"service": ["127.0.0.1:8000:8000"]}


def test_redis_appends_every_step_to_a_file_on_a_volume_and_evicts_nothing() -> None:
    redis = SERVICES["redis"]
    options = dict(zip(redis["command"][1::2], redis["command"][2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert redis["volumes"] == [f"redis:{options['--dir']}"]
    assert redis["healthcheck"]["test"][1:] == ["redis-cli", "ping"]


def test_the_service_waits_for_redis_and_the_policy_and_says_when_it_is_ready() -> None:
    assert SERVICES["service"]["depends_on"] == {
        "redis": {"condition": "service_healthy"},
        "trainer": {"condition": "service_completed_successfully"},
    }
    [check] = [
        arguments for name, arguments in final_stage(ROOT / "docker/service.Dockerfile") if name == "HEALTHCHECK"
    ]
    assert check.endswith('CMD ["python", "/opt/lamo/healthcheck.py"]')
    assert SERVICES["evaluate"]["depends_on"] == {"service": {"condition": "service_healthy"}}


def test_the_service_cannot_write_the_policies_that_the_trainer_makes() -> None:
    assert "policies:/policies" in SERVICES["trainer"]["volumes"]
    assert SERVICES["service"]["volumes"] == ["policies:/policies:ro"]


def test_a_stop_leaves_the_service_more_time_than_it_takes_for_itself() -> None:
    settings = pytest.importorskip("service.settings")
    grace_seconds = settings.Settings.model_fields["grace_seconds"].default
    assert int(SERVICES["service"]["stop_grace_period"].removesuffix("s")) > grace_seconds


@ours
def test_our_containers_have_an_init_a_read_only_file_system_and_no_privileges(name: str) -> None:
    service = SERVICES[name]
    assert service["init"] is True
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_redis_is_not_root_and_has_no_privileges_and_a_read_only_file_system() -> None:
    redis = SERVICES["redis"]
    assert redis["user"] == "redis"
    assert redis["read_only"] is True
    assert redis["cap_drop"] == ["ALL"]
    assert redis["security_opt"] == ["no-new-privileges:true"]
    assert redis["volumes"] == ["redis:/data"]


def test_no_container_is_given_the_machine() -> None:
    for service in SERVICES.values():
        assert (
            not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "userns_mode"} & service.keys()
        )
        assert not any(volume.startswith(("/", ".", "~")) for volume in service.get("volumes", []))


@dockerfiles
def test_no_secret_gets_into_an_image(dockerfile: Path) -> None:
    """An index's address may hold a password: it is an argument of stages of which only files are copied."""
    stage = final_stage(dockerfile)
    assert not [arguments for name, arguments in stage if name in ("ARG", "ADD")]
    words = re.compile(r"(?i)secret|passw|token|credential|PIP_(EXTRA_)?INDEX|api_?key")
    assert not [step for step in stage if words.search(step[1])]
    declared = [arguments for name, arguments in instructions(dockerfile) if name in ("ARG", "ENV")]
    assert not [arguments for arguments in declared if "=" in arguments and "INDEX" in arguments]
    copied = [arguments for name, arguments in stage if name == "COPY"]
    assert all(
        re.match(r"--from=(dependencies|code) /opt/lamo |(examples|docker)/", arguments) for arguments in copied
    )


def test_the_build_context_leaves_out_what_is_not_named() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert "*" in lines
    assert not [line for line in lines if line.startswith("!") and re.search(r"\.env|\.git|keys|\*", line)]


def test_only_the_evaluation_waits_to_be_asked_for() -> None:
    assert {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service} == {
        "evaluate": ["evaluate"]
    }


def test_the_keys_override_mounts_a_folder_where_the_service_looks_for_keys() -> None:
    [(name, service)] = yaml.safe_load((ROOT / "docker-compose.keys.yml").read_text(encoding="utf-8"))[
        "services"
    ].items()
    assert name in SERVICES
    [volume] = service["volumes"]
    assert volume.endswith(f":{Path(service['environment']['LAMO_KEYS']).parent}:ro")


def test_the_gpu_override_changes_only_services_that_there_are() -> None:
    override = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text(encoding="utf-8"))["services"]
    assert set(override) <= set(SERVICES)
    assert override["service"]["environment"] == {"LAMO_DEVICE": "cuda"}


def test_requirements_of_an_extra_are_those_of_the_distribution_and_its_own() -> None:
    script = [sys.executable, str(ROOT / "docker/requirements.py")]
    printed = subprocess.run(
        [*script, "client"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert printed == [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["client"]]
    assert not any(line.startswith("torch") for line in printed)
    refused = subprocess.run([*script, "clients"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode != 0


def test_the_trainer_leaves_a_policy_that_is_there_alone(tmp_path: Path) -> None:
    (tmp_path / "reacher2d").mkdir()
    (tmp_path / "reacher2d" / "config.json").write_text("{}", encoding="utf-8")
    script = ROOT / "docker/make-demo-policy.sh"
    done = subprocess.run([str(script), str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"trainer: {tmp_path}/reacher2d is there, nothing to do\n"
    assert [path.name for path in (tmp_path / "reacher2d").iterdir()] == ["config.json"]
