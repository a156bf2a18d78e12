# SPDX-License-Identifier: Apache-2.0
"""Rules about a TLS client certificate: may it log this account in, now? Pure; for `explain`.

The handshake and `identity.accounts` decide at a door. The names of the rules are ``tls_certificate[...]``
with ``authority``, ``validity``, ``revoked`` and ``name``.
"""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.model import Account
from tidegate.policy.decision import Step
from tidegate.policy.hours import local_time
from tidegate.policy.methods import COMMON_NAME, uses_certificate


@dataclass(frozen=True, slots=True)
class ClientCertificateFindings:
    """Facts about a certificate.

    Attributes:
        name: its common name; empty if it has none, or several.
        trusted: an authority of `ftpd.ca_certificates` signed it.
        revoked: a list of `ftpd.ca_revocation_lists` names it.
        listed: its authority has a list that is valid now, or there are no lists at all.
        begins: Unix seconds of its validity, likewise `ends`.
    """

    name: str
    trusted: bool
    revoked: bool
    listed: bool
    begins: float
    ends: float


def check_client_certificate(account: Account, found: ClientCertificateFindings, now: float) -> list[Step]:
    """Every rule about a certificate, in the order in which a door asks them.

    Args:
        account: whom it is to log in.
        found: facts about it.
        now: Unix seconds.
    """
    return [_authority(found), _validity(found, now), _revoked(found), _name(account, found)]


def _authority(found: ClientCertificateFindings) -> Step:
    rule, where = "tls_certificate[authority]", "ftpd.ca_certificates"
    if found.trusted:
        return Step(rule, "pass", "an authority that is trusted signed it", where)
    why = "none of the authorities signed it; a certificate of an authority between would be sent along"
    return Step(rule, "deny", why, where, f"add the authority's certificate to {where}")


def _validity(found: ClientCertificateFindings, now: float) -> Step:
    rule = "tls_certificate[validity]"
    until = _when(found.ends)
    if now < found.begins:
        why = f"it is not valid before {_when(found.begins)}"
        return Step(rule, "deny", why, "", "wait, or set the clocks right")
    if now > found.ends:
        return Step(rule, "deny", f"it ended {until}", "", "get a new certificate")
    return Step(rule, "pass", f"it is valid until {until}")


def _revoked(found: ClientCertificateFindings) -> Step:
    rule, where = "tls_certificate[revoked]", "ftpd.ca_revocation_lists"
    if found.revoked:
        return Step(rule, "deny", "its authority has revoked it", where, "get a new certificate")
    if not found.listed:
        why = "its authority has no revocation list that is valid now, and there are lists"
        return Step(rule, "deny", why, where, f"renew the list, or add one of this authority to {where}")
    return Step(rule, "pass", "no list names it", where)


def _name(account: Account, found: ClientCertificateFindings) -> Step:
    rule, where = "tls_certificate[name]", "filters.tls_username"
    if not uses_certificate(account):
        why = "the account does not log in by certificates: what a client sends changes nothing"
        return Step(rule, "deny", why, where, f"set {where} to {COMMON_NAME}")
    shown = repr(found.name[:80]) if found.name else "none, or several"
    if found.name == account.username:
        return Step(rule, "pass", f"its common name is {shown}", where)
    why = f"its common name is {shown}, the user is {account.username!r}"
    return Step(rule, "deny", why, where, "get a certificate whose common name is the user name")


def _when(seconds: float) -> str:
    moment = local_time(int(seconds * 1000))
    return f"{moment:%Y-%m-%d %H:%M} UTC" if moment else f"{seconds:g} s"
