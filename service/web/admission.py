"""Admission: who sent a request, found out from its head before anything of its body is read."""

from __future__ import annotations

from lamo.errors import Forbidden, Unauthorized
from service.callers import LOCAL_OWNER, Caller
from service.owners.keyring import Grant
from service.owners.keys import Scope, id_of
from service.owners.keys_file import KeysFile
from service.owners.refused_keys import RefusedKeys
from service.web.arrival import Arrival

OPEN_PATHS = frozenset(("/healthz", "/readyz"))
"""Load balancers have no key, and learn only whether to send requests here."""

_ADMIN: frozenset[Scope] = frozenset(("admin",))
_LOOK: frozenset[Scope] = frozenset(("read", "act"))
_ACT: frozenset[Scope] = frozenset(("act",))


def scopes_for(method: str, path: str) -> frozenset[Scope]:
    """The scopes of which a key needs one. Metrics tell of all owners; what changes nothing may be read."""
    if path == "/metrics":
        return _ADMIN
    return _LOOK if method == "GET" else _ACT


class Admission:
    """Lets in whoever holds a good key; where there are no keys, everybody, as one owner."""

    def __init__(self, keys: KeysFile | None) -> None:
        self._keys = keys
        self._refused = RefusedKeys()

    def admit(self, arrival: Arrival) -> Caller | None:
        """Who asks; None if nobody needs to be known for this path.

        Raises:
            Unauthorized: it came without a key, or with one that is not known (any more).
            Forbidden: its key's scopes do not include what it asks for.
        """
        request_id, trace_id = arrival.request_id, arrival.trace.trace_id
        if self._keys is None:
            arrival.owner = LOCAL_OWNER
            return Caller(LOCAL_OWNER, request_id, trace_id)
        if arrival.path in OPEN_PATHS:
            return None
        grant = self._grant(arrival, self._keys)
        return Caller(grant.owner, request_id, trace_id, grant.limits, grant.key_id)

    def _grant(self, arrival: Arrival, keys: KeysFile) -> Grant:
        scheme, _, sent = arrival.authorization.partition(" ")
        key = sent.strip() if scheme.lower() == "bearer" else ""
        if not key:
            self._refused.tell(arrival, "no key", None)
            raise Unauthorized("a key is asked for: send the header 'Authorization: Bearer <key>'")
        grant = keys.keyring.grant(key)
        if grant is None:
            self._refused.tell(arrival, "unknown key", id_of(key))
            raise Unauthorized("this key is not known here, or not any more")
        arrival.owner = grant.owner
        needed = scopes_for(arrival.method, arrival.path)
        if needed.isdisjoint(grant.scopes):
            self._refused.tell(arrival, "scope", grant.key_id, grant.owner)
            raise Forbidden(
                f"this key has scope {_listed(grant.scopes)}; this request needs {_listed(needed, ' or ')}"
            )
        return grant


def _listed(scopes: frozenset[Scope], between: str = " and ") -> str:
    return between.join(sorted(scopes))
