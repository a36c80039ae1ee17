"""ClusterUrl: where a Redis Cluster is, and how each of its nodes is spoken to."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from lamo.errors import ConfigError
from service.store.slots import Address

SCHEMES = {"redis+cluster": "redis", "rediss+cluster": "rediss"}


@dataclass(frozen=True)
class ClusterUrl:
    """`redis+cluster://[user:password@]host[:port][,host[:port]...][?parameters]`, `rediss+cluster://` for TLS.

    Attributes:
        seeds: the nodes named, asked who the others are; one that answers is enough.
    """

    scheme: str
    credentials: str
    seeds: tuple[Address, ...]
    query: str

    @classmethod
    def names(cls, url: str) -> bool:
        """Whether a URL is a cluster's."""
        return url.partition("://")[0] in SCHEMES

    @classmethod
    def parse(cls, url: str) -> ClusterUrl:
        """The parts.

        Raises:
            ConfigError: a host or a port is missing or none, or it names a database: a cluster has only one.
        """
        parts = urlsplit(url)
        credentials, at, hosts = parts.netloc.rpartition("@")
        if parts.path not in ("", "/", "/0"):
            raise ConfigError("redis_url names a database, but a Redis Cluster has database 0 alone")
        try:
            seeds = tuple(_address(host) for host in hosts.split(","))
        except ValueError:
            # Not the URL, nor what of it was taken for a port: it may be the password's end.
            raise ConfigError("redis_url of a cluster has to name host:port, with commas between several") from None
        return cls(SCHEMES[parts.scheme], credentials + at, seeds, parts.query)

    def of(self, address: Address) -> str:
        """The URL of one node."""
        host, port = address
        bracketed = f"[{host}]" if ":" in host else host
        return f"{self.scheme}://{self.credentials}{bracketed}:{port}?{self.query}"


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, "6379"
    host = host.strip("[]")
    if not host:
        raise ValueError("no host")
    return host, int(port)
