# SPDX-License-Identifier: Apache-2.0
"""Options of the source of accounts, and its bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from tidegate.accounts.rules import DEFAULT_RULES, Rules
from tidegate.model import StorageConfig
from tidegate.store.options import ProviderOptions

RULE: Final = "identity.openbridge"
"""The key of the configuration; the rule of refusals that the source decides."""
MAX_NAME_CHARS: Final = 255
"""Longest user name that is looked up."""
MAX_TEXT_CHARS: Final = 4096
"""Longest text read of one column; a longer one makes the row unusable."""
MAX_KEY_CHARS: Final = 16_384
"""Longest public key."""
MAX_MEMBERS_CHARS: Final = 65_535
"""Longest list of members of a group."""
MAX_KEYS: Final = 100
"""Keys of one user."""
MAX_GROUPS: Final = 100
"""Groups of one user."""
MAX_ROWS: Final = 200
"""Rows of any other table that may concern one user."""
MAX_ADDRESSES: Final = 20_000
"""Rows of ftpd_allow, and of ftpd_deny."""
MAX_LOOKUPS: Final = 256
"""Logins that wait for the database; the next is refused as ``busy``."""
MAX_KNOWN: Final = 10_000
"""Users that are remembered: in the cache, and as those who logged in."""
MAX_TOLD: Final = 1000
"""Bad rows that are remembered as told."""
SHAPE_SECONDS: Final = 60.0
"""Seconds that the tables, columns and rights found are taken for granted."""
REST_SECONDS: Final = 1.0
"""After a database did not answer, logins are refused at once for this long, so that they do not pile up."""
POOL: Final = 8
"""Connections to the database, and as many to its replica, unless the configuration says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenbridgeOptions:
    """The section `identity.openbridge` as the source needs it.

    Attributes:
        database: where the tables are; `read_host` names the replica.
        cache_seconds: time for which a row is used again where nobody logs in: for questions about keys and
            those who are connected; likewise the rows of ftpd_allow and ftpd_deny for logins.
        closed_by_default: only addresses in ftpd_allow come in.
        write: write count, accessed and tallies back where the database user may.
        log: write transfers to ftpd_log where the database user may.
        mount_point: homes below this directory are in the bucket of `homes`.
        homes: storage whose ``key_prefix`` is replaced by the place of the home; None leaves homes on disk.
        section: of its options.
        rules: what names and homes are valid.
    """

    database: ProviderOptions
    cache_seconds: float = 2.0
    closed_by_default: bool = False
    write: bool = True
    log: bool = True
    mount_point: str = ""
    homes: StorageConfig | None = field(default=None, repr=False)
    section: str = ""
    rules: Rules = DEFAULT_RULES

    @property
    def bucket(self) -> str:
        """The bucket of homes below the mount point; empty if they are on disk."""
        if self.homes is None or not self.mount_point:
            return ""
        options: Any = self.homes.options[self.section]
        return str(options.get("bucket", ""))
