"""What the Kubernetes manifests promise, held against the schemas, the service's settings, and the compose file."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings, environment_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker/kubernetes"
OVERLAY = ROOT / "docker/kubernetes-gpu"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
OLDEST, NEWEST = "1.29", "1.37"


def resources(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Every resource that the kustomization names, in its order."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text(encoding="utf-8"))
    files = [folder / name for name in kustomization["resources"] if (folder / name).is_file()]
    return [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


ALL = resources()
POD_MAKERS = [resource for resource in ALL if resource["kind"] in ("Deployment", "StatefulSet")]
makers = pytest.mark.parametrize("maker", POD_MAKERS, ids=lambda resource: resource["metadata"]["name"])


def the(kind: str, name: str) -> dict[str, Any]:
    [found] = [resource for resource in ALL if (resource["kind"], resource["metadata"]["name"]) == (kind, name)]
    return found


def pod(maker: dict[str, Any]) -> dict[str, Any]:
    return maker["spec"]["template"]["spec"]


def container(maker: dict[str, Any]) -> dict[str, Any]:
    [only] = pod(maker)["containers"]
    return only


def variables() -> dict[str, str | None]:
    """The service's environment; None for a value that only the cluster knows."""
    given: dict[str, str | None] = dict(the("ConfigMap", "lamo-settings")["data"])
    for variable in container(the("Deployment", "lamo"))["env"]:
        given[variable["name"]] = variable.get("value")
    return given


def setting(name: str) -> float:
    given = variables().get(environment_name(name))
    return float(Settings.model_fields[name].default if given is None else given)


def policies_of_network(labels: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The network policies that select a pod of these labels, but for the one that denies all."""
    for resource in ALL:
        if resource["kind"] == "NetworkPolicy":
            wanted = resource["spec"]["podSelector"].get("matchLabels")
            if wanted and wanted.items() <= labels.items():
                yield resource["spec"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_resource_is_what_the_schema_of_kubernetes_allows(version: str) -> None:
    for resource in ALL:
        assert kubernetes_validate.validate(resource, version, strict=True) == version


def test_the_validator_refuses_what_it_should() -> None:
    wrong = the("Service", "lamo") | {"spec": {"ports": [{"port": "8000", "protokoll": "TCP"}]}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


def test_every_manifest_is_in_the_kustomization() -> None:
    for folder in (FOLDER, OVERLAY):
        text = (folder / "kustomization.yaml").read_text(encoding="utf-8")
        files = {file.name for file in folder.glob("*.yaml")} - {"kustomization.yaml"}
        assert files <= set(re.findall(r"[\w-]+\.yaml", text))


def test_the_gpu_overlay_renders_and_each_patch_meets_its_resource() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    done = subprocess.run(
        ["kubectl", "kustomize", str(OVERLAY)], capture_output=True, text=True, check=True, timeout=60
    )
    rendered = {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(done.stdout)}
    assert len(rendered) == len(ALL)
    for resource in rendered.values():
        kubernetes_validate.validate(resource, NEWEST, strict=True)
    limits = container(rendered["Deployment", "lamo"])["resources"]["limits"]
    assert limits == container(the("Deployment", "lamo"))["resources"]["limits"] | {"nvidia.com/gpu": 1}
    assert rendered["ConfigMap", "lamo-settings"]["data"]["LAMO_DEVICE"] == "cuda"


def test_images_are_those_of_the_compose_file() -> None:
    assert container(the("Deployment", "lamo"))["image"] == COMPOSE["service"]["image"]
    assert container(the("StatefulSet", "redis"))["image"] == COMPOSE["redis"]["image"]


def test_every_variable_is_a_setting_of_the_service_and_its_value_is_taken(monkeypatch, tmp_path) -> None:
    (tmp_path / "password").write_text("secret\n")
    for name, value in variables().items():
        assert name in {environment_name(field) for field in Settings.model_fields}
        monkeypatch.setenv(name, "redis://lamo@redis:6379/0" if value is None else value)
    settings = Settings.read({"redis_password_file": tmp_path / "password"})
    assert settings.host == "0.0.0.0"
    assert settings.keys is not None  # whoever has none gets nothing
    assert not settings.public


def test_a_pod_has_longer_to_leave_than_the_service_takes_for_itself() -> None:
    assert setting("drain_seconds") > 0
    needed = setting("drain_seconds") + setting("grace_seconds")
    assert pod(the("Deployment", "lamo"))["terminationGracePeriodSeconds"] > needed


def test_a_pod_is_known_to_be_not_ready_before_it_refuses_connections() -> None:
    probe = container(the("Deployment", "lamo"))["readinessProbe"]
    longest = probe["failureThreshold"] * (probe["periodSeconds"] + probe["timeoutSeconds"])
    assert longest < setting("drain_seconds")


def test_probes_ask_the_routes_that_mean_it_and_wait_as_long_as_an_answer_may_take() -> None:
    from service.processes.app import create_app
    from service.processes.remote import PROBE_SECONDS

    service = container(the("Deployment", "lamo"))
    assert service["livenessProbe"]["httpGet"]["path"] == service["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert service["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {"/healthz", "/readyz"} <= set(create_app(Settings(policies=ROOT)).openapi()["paths"])
    assert service["livenessProbe"]["timeoutSeconds"] > PROBE_SECONDS


def test_ports_agree_from_the_setting_to_the_network_policy() -> None:
    port = int(setting("port"))
    service = container(the("Deployment", "lamo"))
    assert service["ports"] == [{"name": "http", "containerPort": port}]
    assert the("Service", "lamo")["spec"]["ports"] == [{"name": "http", "port": port, "targetPort": "http"}]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert service[probe]["httpGet"]["port"] == "http"
    [policy] = policies_of_network({"app.kubernetes.io/name": "lamo"})
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"protocol": "TCP", "port": port}]]


@makers
def test_selectors_meet_the_pods(maker: dict[str, Any]) -> None:
    labels = maker["spec"]["template"]["metadata"]["labels"]
    name = maker["metadata"]["name"]
    assert maker["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert the("Service", name)["spec"]["selector"].items() <= labels.items()
    for spread in pod(maker).get("topologySpreadConstraints", []):
        assert spread["labelSelector"]["matchLabels"].items() <= labels.items()


def test_the_autoscaler_and_the_disruption_budget_are_about_the_deployment() -> None:
    deployment = the("Deployment", "lamo")
    scaler = the("HorizontalPodAutoscaler", "lamo")["spec"]
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "lamo"}
    assert scaler["maxReplicas"] > scaler["minReplicas"] >= 2
    assert "replicas" not in deployment["spec"]
    assert "cpu" in container(deployment)["resources"]["requests"]  # what the utilization is a share of
    budget = the("PodDisruptionBudget", "lamo")["spec"]
    assert budget["selector"] == deployment["spec"]["selector"]
    assert budget["maxUnavailable"] < scaler["minReplicas"]


def test_a_rolling_update_takes_no_replica_away_before_another_is_ready() -> None:
    assert the("Deployment", "lamo")["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


@makers
def test_pods_are_not_root_and_have_no_privileges(maker: dict[str, Any]) -> None:
    whole, own = pod(maker)["securityContext"], container(maker)["securityContext"]
    assert whole["runAsNonRoot"] is True
    assert whole["runAsUser"] == {"lamo": 10001, "redis": 999}[maker["metadata"]["name"]]
    assert whole["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(maker)["automountServiceAccountToken"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod(maker).keys()
    assert not [volume for volume in pod(maker)["volumes"] if "hostPath" in volume]


def test_all_pods_may_do_nothing_on_the_network_but_what_is_said() -> None:
    nothing = the("NetworkPolicy", "nothing")["spec"]
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    [service] = policies_of_network({"app.kubernetes.io/name": "lamo"})
    assert [[port["port"] for port in rule["ports"]] for rule in service["egress"]] == [[6379], [53, 53]]
    [redis] = policies_of_network({"app.kubernetes.io/name": "redis"})
    assert redis["egress"] == []
    selected = [peer["podSelector"]["matchLabels"] for rule in redis["ingress"] for peer in rule["from"]]
    assert selected == [the("Deployment", "lamo")["spec"]["selector"]["matchLabels"]]


def test_no_manifest_holds_a_secret() -> None:
    assert not [resource for resource in ALL if resource["kind"] == "Secret"]
    for file in [*FOLDER.iterdir(), *OVERLAY.iterdir()]:
        assert not re.search(r"redis://[^\s@]*:[^\s@]*@|requirepass", file.read_text(encoding="utf-8")), file


def test_the_secret_that_the_readme_makes_has_what_the_pods_ask_for() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    made = set(re.findall(r"--from-(?:literal|file)=([\w.]+)", readme))
    asked = {
        item["key"]
        for maker in POD_MAKERS
        for volume in pod(maker)["volumes"]
        if "secret" in volume
        for item in volume["secret"]["items"]
    }
    asked |= {
        variable["valueFrom"]["secretKeyRef"]["key"]
        for variable in container(the("Deployment", "lamo"))["env"]
        if "valueFrom" in variable
    }
    assert asked == made


def test_redis_keeps_every_step_on_a_volume_and_evicts_nothing() -> None:
    settings = the("ConfigMap", "lamo-redis-settings")["data"]["redis.conf"]
    options = dict(line.split(maxsplit=1) for line in settings.splitlines())
    assert (options["appendonly"], options["maxmemory-policy"]) == ("yes", "noeviction")
    redis = the("StatefulSet", "redis")
    mounts = {mount["name"]: mount["mountPath"] for mount in container(redis)["volumeMounts"]}
    assert mounts[redis["spec"]["volumeClaimTemplates"][0]["metadata"]["name"]] == options["dir"]
    assert options["aclfile"].startswith(mounts["users"])


def test_the_service_cannot_write_policies() -> None:
    deployment = the("Deployment", "lamo")
    mounts = {mount["mountPath"]: mount for mount in container(deployment)["volumeMounts"]}
    assert mounts[str(variables()["LAMO_POLICIES"])]["readOnly"] is True


def test_the_services_user_of_redis_has_the_rights_that_the_redis_page_asks_for() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    page = (ROOT / "docs/redis.md").read_text(encoding="utf-8")
    [asked] = re.findall(r"^ACL SETUSER lamo on \S+ resetkeys (~lamo:.*)$", page, re.MULTILINE)
    [given] = re.findall(r"^user lamo on .*(~lamo:.*)$", readme, re.MULTILINE)
    assert given == asked
