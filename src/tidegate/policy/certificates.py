# SPDX-License-Identifier: Apache-2.0
"""Rules about the certificate of a user: may it stand for this name, now, from there?

Pure. What needs files or arithmetic (is the authority trusted, is the signature right, is it revoked) comes
as `Findings`. The names of the rules are ``certificate[...]`` with ``kind``, ``authority``, ``signature``,
``revoked``, ``principal``, ``validity``, ``option``, ``source-address`` and ``force-command``.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tidegate.model.address_list import AddressList, parse_address
from tidegate.model.certificate import USER_CERTIFICATE, SshCertificate
from tidegate.policy.decision import Step
from tidegate.policy.hours import local_time

FOR_EVER: Final = 2**64 - 1
"""`SshCertificate.valid_before` of a certificate without an end (PROTOCOL.certkeys)."""
SFTP_COMMAND: Final = "internal-sftp"
"""The one value of ``force-command`` that is honoured: files, and no commands."""
MAX_SOURCE_ADDRESSES: Final = 1000
"""Networks in one ``source-address``."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Facts about a certificate that need files or arithmetic.

    Attributes:
        trusted: the authority's key is one of `sftpd.trusted_user_ca_keys`.
        signed: the authority's signature is right; never True without `trusted`.
        revoked: what revokes it, in a few words; empty if nothing does.
        security_key: the key lives on a FIDO device.
    """

    trusted: bool
    signed: bool
    revoked: str
    security_key: bool


@dataclass(frozen=True, slots=True)
class _Attempt:
    certificate: SshCertificate
    findings: Findings
    username: str
    ip: str
    now: float
    names: frozenset[str]


def _kind(a: _Attempt) -> Step:
    if a.certificate.kind == USER_CERTIFICATE:
        return Step("certificate[kind]", "pass", "it is a user's certificate")
    why = "it is a host's certificate" if a.certificate.kind == 2 else f"its kind is {a.certificate.kind}"
    return Step("certificate[kind]", "deny", why, "", "sign the key as a user's: ssh-keygen -s without -h")


def _authority(a: _Attempt) -> Step:
    where = "sftpd.trusted_user_ca_keys"
    if a.findings.trusted:
        return Step("certificate[authority]", "pass", "its authority is trusted", where)
    return Step(
        "certificate[authority]", "deny", "its authority is not trusted", where, f"add the key to {where}"
    )


def _signature(a: _Attempt) -> Step:
    if a.findings.signed:
        return Step("certificate[signature]", "pass", "its authority signed it")
    why = "the signature is wrong, or made by an algorithm that is not accepted (SHA-1)"
    return Step("certificate[signature]", "deny", why, "", "sign it again: ssh-keygen -s ca -t rsa-sha2-512")


def _revoked(a: _Attempt) -> Step:
    where = "sftpd.revoked_user_certs_file"
    if not a.findings.revoked:
        return Step("certificate[revoked]", "pass", "it is not revoked", where)
    return Step("certificate[revoked]", "deny", a.findings.revoked, where, "sign another certificate")


def _principal(a: _Attempt) -> Step:
    rule, principals = "certificate[principal]", a.certificate.principals
    if a.username in a.names:
        return Step(rule, "pass", f"{a.username} is one of its principals")
    shown = f"its principals are {', '.join(principals[:10])}" if principals else "it has no principals"
    hint = f"sign it for this name: ssh-keygen -s ca -n {a.username}"
    return Step(rule, "deny", f"{shown}; a certificate is good for the names that it lists", "", hint)


def _validity(a: _Attempt) -> Step:
    rule, one = "certificate[validity]", a.certificate
    if a.now < one.valid_after:
        why = f"it is valid from {_when(one.valid_after)} on"
        return Step(rule, "deny", why, "", "wait, or set the clock of server or authority right")
    if one.valid_before != FOR_EVER and a.now >= one.valid_before:
        return Step(rule, "deny", f"it expired at {_when(one.valid_before)}", "", "sign another certificate")
    until = "for ever" if one.valid_before == FOR_EVER else f"until {_when(one.valid_before)}"
    return Step(rule, "pass", f"it is valid {until}")


def _options(a: _Attempt) -> Step:
    rule = "certificate[option]"
    names = [name for name, _ in a.certificate.critical_options]
    for index, name in enumerate(names):
        if name not in _CRITICAL:
            why = f"the critical option {name[:60]} is not known here"
            return Step(rule, "deny", why, "", "sign it without that option")
        if name in names[:index]:
            return Step(rule, "deny", f"the critical option {name} stands there twice")
    if a.certificate.verify and not a.findings.security_key:
        why = "verify-required is about security keys, and this key is none"
        return Step(rule, "deny", why, "", "sign it without that option")
    return Step(
        rule, "pass", f"critical options: {', '.join(names)}" if names else "it has no critical options"
    )


def _source(a: _Attempt) -> Step:
    rule = "certificate[source-address]"
    data = _option(a.certificate, "source-address")
    if data is None:
        return Step(rule, "pass", "it is good from every address")
    networks = _networks(data)
    if networks is None:
        return Step(
            rule, "deny", "source-address holds no list of networks", "", "sign it with CIDR networks"
        )
    if parse_address(a.ip) is None:
        return Step(rule, "deny", f"{a.ip!r} is no address")
    if AddressList(networks).match(a.ip) is not None:
        return Step(rule, "pass", f"{a.ip} is in {', '.join(networks)}")
    hint = f"sign it for a network that holds {a.ip}"
    return Step(rule, "deny", f"{a.ip} is in none of {', '.join(networks)}", "", hint)


def _command(a: _Attempt) -> Step:
    rule = "certificate[force-command]"
    data = _option(a.certificate, "force-command")
    if data is None:
        return Step(rule, "pass", "it forces no command")
    if _text(data) == SFTP_COMMAND:
        return Step(rule, "pass", "it is for SFTP alone: commands are refused")
    why = f"it forces a command; {SFTP_COMMAND}, without arguments, is the only one that can be honoured"
    return Step(rule, "deny", why, "", f"sign it with force-command={SFTP_COMMAND}, or without")


_RULES: Final[tuple[Callable[[_Attempt], Step], ...]] = (
    _kind,
    _authority,
    _signature,
    _revoked,
    _principal,
    _validity,
    _options,
    _source,
    _command,
)
"""In the order of asking."""
_CRITICAL: Final = frozenset(("force-command", "source-address", "verify-required"))
"""Critical options that are honoured; all others refuse."""


def check_certificate(
    certificate: SshCertificate,
    findings: Findings,
    *,
    username: str,
    ip: str,
    now: float,
    fold: Callable[[str], str | None],
    stop: bool = True,
) -> list[Step]:
    """Ask every rule in order. Total over any certificate that can be read.

    Args:
        certificate: that is offered.
        findings: about it.
        username: the account's name.
        ip: where the client is.
        now: Unix seconds.
        fold: a principal as the naming rules of the server leave it; None if it is no name.
        stop: end at the first refusal, as the server does; False asks the rest as well, for `explain`.

    Returns:
        the rules asked; see `policy.login.refusal`.
    """
    names = frozenset(name for text in certificate.principals if text and (name := fold(text)))
    attempt = _Attempt(certificate, findings, username, ip, now, names)
    steps: list[Step] = []
    for rule in _RULES:
        steps.append(rule(attempt))
        if stop and steps[-1].verdict == "deny":
            break
    return steps


def _option(certificate: SshCertificate, name: str) -> bytes | None:
    return next((data for key, data in certificate.critical_options if key == name), None)


def _text(data: bytes) -> str | None:
    """The string that the data of an option holds; None if it is not exactly one."""
    if len(data) < 4 or int.from_bytes(data[:4], "big") != len(data) - 4:
        return None
    try:
        return data[4:].decode("utf-8")
    except UnicodeDecodeError:
        return None


def _networks(data: bytes) -> tuple[str, ...] | None:
    """The networks of ``source-address``; None if they cannot be read."""
    text = _text(data)
    parts = [part.strip() for part in text.split(",")] if text else []
    if not parts or len(parts) > MAX_SOURCE_ADDRESSES:
        return None
    try:
        return tuple(str(ipaddress.ip_network(part)) for part in parts)
    except ValueError:
        return None


def _when(seconds: int) -> str:
    moment = local_time(seconds * 1000)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else f"{seconds} s"
