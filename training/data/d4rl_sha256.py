"""SHA-256 of D4RL's files by their names, against which a download is checked.

D4RL publishes no checksums, and its host could not be reached from where this table was begun, so no hash here
would have been seen. `lamo-train data fetch d4rl:ID` prints the hash of what it downloaded: two downloads on
different days that agree are the ground for a line here.
"""

from __future__ import annotations

from types import MappingProxyType

SHA256: MappingProxyType[str, str] = MappingProxyType({})
