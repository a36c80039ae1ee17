"""Settings: every option of the service, from the command line or the environment (`LAMO_...`); read here only."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lamo.errors import ConfigError

ENVIRONMENT_PREFIX = "LAMO_"


class Settings(BaseSettings):
    """What one service does; frozen. Each description says the effect."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid")

    policies: Path = Field(description="folder of checkpoints; each subfolder is served under its name")
    policies_poll_seconds: float = Field(
        2.0, gt=0, description="how often that folder is looked at for new revisions; two equal looks make one"
    )
    revision_idle_seconds: float = Field(
        600.0,
        gt=0,
        description="a revision that is not the current one and that no episode used for so long is unloaded; "
        "the next act of an episode that stays with it loads it again",
    )
    host: str = Field("127.0.0.1", description="address to listen on; others than loopback need --keys or --public")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on; 0 takes a free one")
    public: bool = Field(
        False, description="listen on other than loopback addresses although nobody is asked for a key"
    )
    keys: Path | None = Field(
        None, description="ask for the keys of this file (TOML, see lamo-keys), which is read again when it changes"
    )
    audit_log: Path | None = Field(
        None, description="append audit lines to this file; they are in the log if it is not set"
    )
    tls_certificate: Path | None = Field(
        None, description="speak HTTPS only, with this certificate (PEM, with those between it and its root)"
    )
    tls_key: Path | None = Field(None, description="its key (PEM), if not in the same file")
    tls_key_password_file: Path | None = Field(None, description="file whose first line opens the key")
    trusted_proxies: str | None = Field(
        None,
        description="addresses or networks, with commas, whose X-Forwarded-For names the client in logs; "
        "from all others the header is ignored",
    )
    redis_url: str | None = Field(
        None,
        repr=False,  # it may have a password
        description="keep episodes in this Redis, or Redis Cluster (redis+cluster://), instead of a private one",
    )
    redis_password_file: Path | None = Field(
        None, description="file with the password of Redis; read again for each new connection"
    )
    data_dir: Path = Field(Path(".lamo"), description="folder of the private Redis")
    fsync: Literal["always", "everysec"] = Field(
        "everysec", description="the private Redis writes to disk before each answer, or every second"
    )
    workers: int = Field(
        0,
        ge=0,
        le=256,
        description="HTTP worker processes in front of one engine process per device; "
        "with 0 and one device, one process does both",
    )
    standby: bool = Field(
        True,
        description="with several processes, keep one more that has loaded all but the policies, so that an engine "
        "that dies is soon replaced; it takes the memory of an engine without policies",
    )
    device: str = Field(
        "auto",
        description="where policies run: auto (cuda where there is one, else cpu), cpu, cuda, cuda:1, ...; "
        "several as cuda:0,cuda:1 are an engine process each, with episodes spread over them",
    )
    dtype: Literal["float32", "bfloat16"] = Field("float32", description="what networks compute in")
    reproducible: bool = Field(
        False, description="give the same bits whoever shares a batch, at some cost in speed"
    )
    threads: int | None = Field(
        None,
        ge=1,
        description="CPU threads of a forward pass; if not set, all cores, less one for small networks",
    )
    slot_megabytes: int = Field(
        1024,
        ge=0,
        description="memory of each policy for the keys and values of live windows; 0 computes every window whole",
    )
    batch_limit: int = Field(64, ge=1, le=4096, description="most acts in one forward pass")
    queue_limit: int = Field(1024, ge=1, description="acts that may wait; more are answered 429")
    queue_seconds: float = Field(
        0.1,
        gt=0,
        description="acts that do not fit into the next forward pass and would wait longer, as the last passes "
        "tell, are answered 429",
    )
    cached_episodes: int = Field(10_000, ge=1, description="episodes whose windows are kept beside Redis")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="larger request bodies are answered 413")
    max_connections: int = Field(
        4096, ge=1, description="clients connected to one process; more are answered 503 and disconnected"
    )
    client_timeout_seconds: float = Field(
        20.0, gt=0, le=3600, description="how long a client may take to send a request, or to take its answer"
    )
    store_timeout_seconds: float = Field(2.0, gt=0, description="a Redis command that takes longer is answered 503")
    store_connections: int = Field(8, ge=2, description="connections to Redis, or to each node of its cluster")
    drain_seconds: float = Field(
        0.0,
        ge=0,
        description="after SIGTERM, how long to go on answering, not ready and without new episodes, "
        "so that balancers notice before connections are refused",
    )
    grace_seconds: float = Field(
        20.0, ge=0, description="after that, how long requests under way may take to finish"
    )
    hang_seconds: float = Field(
        15.0,
        ge=3,
        description="an engine process that gives no sign of life for so long is killed and started again; "
        "it gives none while work is queued and its device has finished nothing for 10 s",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severity of logged events"
    )

    @property
    def devices(self) -> list[str]:
        """Each device that policies run on."""
        return self.device.split(",")

    @property
    def proxies(self) -> list[str]:
        """Each address or network that is trusted to name clients."""
        return [] if self.trusted_proxies is None else self.trusted_proxies.split(",")

    @property
    def several_processes(self) -> bool:
        """Whether HTTP and engines are processes of their own."""
        return self.workers > 0 or len(self.devices) > 1

    @field_validator("device")
    @classmethod
    def _named_devices(cls, device: str) -> str:
        names = [name.strip() for name in device.split(",")]
        if not all(names):
            raise ValueError("name a device on either side of each comma")
        return ",".join(names)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: str | None) -> str | None:
        if proxies is None:
            return None
        return ",".join(str(ipaddress.ip_network(proxy.strip())) for proxy in proxies.split(","))

    @model_validator(mode="after")
    def _a_certificate_for_the_key(self) -> Settings:
        if self.tls_certificate is None and (self.tls_key or self.tls_key_password_file):
            raise ValueError("a TLS key is given and no certificate: say --tls-certificate (LAMO_TLS_CERTIFICATE)")
        return self

    @model_validator(mode="after")
    def _asked_to_be_public(self) -> Settings:
        if not self.public and self.keys is None and not _loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address and nobody is asked for a key: "
                "name a keys file with --keys (LAMO_KEYS), or say --public (LAMO_PUBLIC=1) if that is meant"
            )
        return self

    @classmethod
    def read(cls, options: Mapping[str, object]) -> Settings:
        """Settings from given options and, for the others, the environment.

        Raises:
            ConfigError: naming the first option that cannot be used.
        """
        try:
            return cls(**options)  # type: ignore[arg-type]  # pydantic checks them
        except ValidationError as error:
            raise ConfigError(_sentence(error)) from error


def environment_name(setting: str) -> str:
    """The environment variable of a setting."""
    return f"{ENVIRONMENT_PREFIX}{setting.upper()}"


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    message = str(first["msg"]).removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    where = f"option --{name.replace('_', '-')} ({environment_name(name)})"
    if first["type"] == "missing":
        return f"{where} is missing"
    return f"{where} is {first['input']!r}: {message[:1].lower()}{message[1:]}"


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
