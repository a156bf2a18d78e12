# SPDX-License-Identifier: Apache-2.0
"""Options of the defence from the configuration, and what refused logins count for."""

from __future__ import annotations

import time
from typing import Final

from tidegate.config.load import Loaded
from tidegate.config.schema.defence import DefenderKeys
from tidegate.defence.defender import DefenderLimits, Misdeed
from tidegate.defence.limiter import RateLimits
from tidegate.defence.penalties import Offence, PenaltyLimits
from tidegate.defence.pipeline import DefenceOptions
from tidegate.events.kinds import LoginFailed
from tidegate.model.address_list import AddressList, parse_network
from tidegate.model.listed import ListEntry, ListKind, ListMode, entry_name
from tidegate.model.proxies import ProxyOptions
from tidegate.model.sources import SourcePrefixes

UNKNOWN: Final = frozenset(("unknown_user", "bad_username"))
WRONG: Final = frozenset(
    ("bad_credential", "bad_code", "bad_passkey", "bad_signature", "unknown_key", "disabled", "expired")
)
"""Reasons of refused logins that count as a wrong credential."""


def misdeed_of(event: LoginFailed) -> Misdeed | None:
    """The misdeed that a refused login is; None if the server or a rule of the account refused it."""
    if event.login_type == "no_auth_tried":
        return Misdeed.NO_AUTH
    if event.reason in UNKNOWN:
        return Misdeed.UNKNOWN_USER
    if event.reason in WRONG:
        return Misdeed.BAD_CREDENTIAL
    return Misdeed.LIMIT_EXCEEDED if event.reason == "sessions" else None


LATE: Final = frozenset(("login deadline", "login_timeout"))
"""Reasons of ends of connections whose time to log in was over."""
OWN_WILL: Final = frozenset(("", "silent"))
"""Those of connections that the client ended, or nothing came by."""
CRASHED: Final = "internal_error"
"""The reason of the end of a connection by a fault of the server."""


def offence_of(event: LoginFailed) -> Offence | None:
    """The offence that a refused login is; None if the server or a rule of the account refused it."""
    if event.reason in UNKNOWN:
        return Offence.INVALID_USER
    if event.reason in WRONG:
        return Offence.AUTH_FAIL
    if event.login_type == "no_auth_tried" or event.reason == "incomplete":
        return Offence.NO_AUTH
    return None


def offence_at_end(by: str, before: Offence) -> Offence | None:
    """The offence of a connection that ended without a login.

    Args:
        by: see `events.kinds.Disconnected.by`.
        before: the gravest of its refused logins.
    """
    if by in LATE:
        return Offence.GRACE
    if by == CRASHED:
        return Offence.CRASH
    return before if before is not Offence.NO_AUTH or by in OWN_WILL else None


def door_of(protocol: str) -> str:
    """The protocol of an event as lists and limiters name it."""
    return "SSH" if protocol in ("SFTP", "SCP", "SSH") else "FTP" if protocol.startswith("FTP") else protocol


def proxies(loaded: Loaded) -> ProxyOptions:
    """The proxies whose PROXY header is read, from `common`."""
    common = loaded.settings.common
    return ProxyOptions(
        mode=common.proxy_protocol,
        allowed=AddressList(common.proxy_allowed),
        skipped=AddressList(common.proxy_skipped),
    )


def penalties(loaded: Loaded) -> PenaltyLimits | None:
    """Limits of penalties, None if there are none."""
    keys = loaded.settings.common.penalties
    if not keys.enabled:
        return None
    return PenaltyLimits(
        seconds={offence: getattr(keys, offence.value) for offence in Offence},
        least=keys.min,
        most=keys.max,
        sources4=keys.max_sources4,
        sources6=keys.max_sources6,
        overflow=keys.overflow,
        exempt=AddressList(keys.exempt),
    )


def all_proxies(loaded: Loaded) -> AddressList:
    """Addresses of every proxy that says who its clients are."""
    settings = loaded.settings
    found = list(settings.common.proxy_allowed) if settings.common.proxy_protocol else []
    for header, allowed in [
        *((one.client_ip_proxy_header, one.proxy_allowed) for one in settings.httpd.bindings),
        *((one.client_ip_proxy_header, one.proxy_allowed) for one in settings.webdavd.bindings),
    ]:
        found += allowed if header else []
    return AddressList(found)


def prefixes(loaded: Loaded) -> SourcePrefixes:
    """Prefixes of what is one source."""
    common = loaded.settings.common
    return SourcePrefixes(common.source_prefix4, common.source_prefix6)


def options(loaded: Loaded) -> DefenceOptions:
    """Options of the pipeline from `common`."""
    common = loaded.settings.common
    return DefenceOptions(
        allow_listed_only=common.allowlist_status == 1 or bool(common.whitelist_file),
        allow_rule="common.allowlist_status" if common.allowlist_status else "common.whitelist_file",
        defender=_limits(common.defender),
        penalties=penalties(loaded),
        proxies=all_proxies(loaded),
        prefixes=prefixes(loaded),
        limiters=tuple(
            RateLimits(
                rule=f"common.rate_limiters[{index}]",
                average=one.average,
                period_seconds=one.period / 1000,
                burst=one.burst,
                per_source=one.type == 2,
                protocols=frozenset(one.protocols),
                exempt=AddressList(one.allow_list),
                marks=one.generate_defender_events,
                soft_limit=one.entries_soft_limit,
                hard_limit=one.entries_hard_limit,
            )
            for index, one in enumerate(common.rate_limiters)
            if one.average and one.protocols
        ),
    )


_OPENBRIDGE: Final = {
    "threshold": 4,
    "score_invalid": 1,
    "score_valid": 1,
    "score_no_auth": 0,
    "score_infected": 1,
    "ban_time": 30,
    "observation_time": 30,
}


def _limits(keys: DefenderKeys) -> DefenderLimits | None:
    if not keys.enabled:
        return None
    values = {name: getattr(keys, name) for name in type(keys).model_fields}
    if keys.preset == "openbridge":
        values |= {name: value for name, value in _OPENBRIDGE.items() if name not in keys.model_fields_set}
    grows = values["ban_time_increment"]
    return DefenderLimits(
        scores={misdeed: values[misdeed.value] for misdeed in Misdeed},
        threshold=values["threshold"],
        observation_seconds=values["observation_time"] * 60.0,
        ban_seconds=values["ban_time"] * 60.0,
        increment_seconds=max(60.0, values["ban_time"] * 60.0 * grows / 100) if grows else 0.0,
        soft_limit=values["entries_soft_limit"],
        hard_limit=values["entries_hard_limit"],
    )


def stored_ban(source: str, until: float, why: str) -> ListEntry:
    """The record of a ban."""
    network = parse_network(source)
    text = source if network is None else str(network)
    return ListEntry(
        name=entry_name(ListKind.BAN, text),
        type=ListKind.BAN,
        ipornet=text,
        mode=ListMode.DENY,
        description=why,
        expires_at=int(until * 1000),
    )


def shown(until: float) -> str:
    """A time, Unix seconds, for the log."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
