# SPDX-License-Identifier: Apache-2.0
"""Checks what authenticators sign (WebAuthn level 3, sections 7.1 and 7.2), by `fido2`. Loaded when needed.

No attestation is asked for: which make an authenticator is of does not matter here. Nothing is stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from fido2 import cbor
from fido2.cose import CoseKey
from fido2.server import Fido2Server
from fido2.webauthn import (
    Aaguid,
    AttestationConveyancePreference,
    AttestedCredentialData,
    AuthenticationResponse,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialParameters,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    RegistrationResponse,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from tidegate.policy.passkeys import Passkey, RelyingParty, decode, encode

ALGORITHMS: Final = (-7, -8, -257)
"""COSE algorithms, the preferred first: ES256, EdDSA (Ed25519), RS256."""
MAX_ANSWER_CHARS: Final = 16_384
"""Characters of what a browser sends of a credential."""
MAX_ID_BYTES: Final = 1_023
"""Of a credential id (WebAuthn section 4)."""
RSA_BITS: Final = (2_048, 4_096)
MAX_EXPONENT: Final = 1 << 32
"""A larger one makes each check slow, and no authenticator has one."""
TIMEOUT_MS: Final = 300_000
"""Milliseconds that a browser waits for the person."""


class BadPasskey(ValueError):
    """The answer of an authenticator is not good; the text says why."""


@dataclass(frozen=True, slots=True)
class Assertion:
    """The content of a checked signature.

    Attributes:
        sign_count: counter of the authenticator.
        synced: the passkey is kept in more than one place.
    """

    sign_count: int
    synced: bool


def creation_options(
    party: RelyingParty, challenge: bytes, *, username: str, handle: str, known: Sequence[Passkey]
) -> dict[str, Any]:
    """The argument of ``navigator.credentials.create``, bytes in base64url.

    Args:
        party: the site.
        challenge: at least 16 random bytes.
        username: shown by authenticators.
        handle: of the administrator.
        known: passkeys that the authenticator may hold already.
    """
    options, _ = _server(party).register_begin(
        PublicKeyCredentialUserEntity(id=decode(handle), name=username, display_name=username),
        _descriptors(known),
        resident_key_requirement=ResidentKeyRequirement.PREFERRED,
        user_verification=UserVerificationRequirement.PREFERRED,
        challenge=challenge,
    )
    return _plain(options)


def request_options(
    party: RelyingParty, challenge: bytes, *, known: Sequence[Passkey] | None, verified: bool
) -> dict[str, Any]:
    """The argument of ``navigator.credentials.get``, bytes in base64url.

    Args:
        party: the site.
        challenge: at least 16 random bytes.
        known: passkeys that are asked for; None asks for any of the site.
        verified: the authenticator has to make sure of the person, by PIN or finger.
    """
    options, _ = _server(party).authenticate_begin(
        None if known is None else _descriptors(known), _verification(verified), challenge
    )
    return _plain(options)


def registered(party: RelyingParty, challenge: bytes, answer: str, *, name: str, now_ms: int) -> Passkey:
    """The new passkey that the browser's answer holds, after all checks (WebAuthn section 7.1).

    Raises:
        BadPasskey: the answer is not good.
    """
    try:
        server, document = _server(party), _document(answer)
        _, state = server.register_begin(PublicKeyCredentialUserEntity(id=b"0", name=""), challenge=challenge)
        response = RegistrationResponse.from_dict(document)
        _refuse_frames(response.response.client_data.cross_origin)
        if response.response.attestation_object.auth_data.credential_data is None:
            raise BadPasskey("it holds no public key")
        data = server.register_complete(state, response)
        credential = data.credential_data
        assert credential is not None
        if credential.credential_id != response.raw_id:
            raise BadPasskey("the id is not the one that was signed")
        if not 0 < len(credential.credential_id) <= MAX_ID_BYTES:
            raise BadPasskey("the id is empty or too long")
        _check_key(credential.public_key)
        transports = document["response"].get("transports")
        known = [one.value for one in AuthenticatorTransport]
        return Passkey(
            id=encode(credential.credential_id),
            name=name,
            public_key=encode(cbor.encode(dict(credential.public_key))),
            rp_id=party.rp_id,
            sign_count=data.counter,
            synced=data.is_backed_up(),
            transports=tuple(one for one in known if isinstance(transports, list) and one in transports),
            created_at=now_ms,
        )
    except BadPasskey:
        raise
    except Exception as error:  # the parser of CBOR raises whatever comes up; the input is bounded
        raise BadPasskey(_why(error)) from error


def named(answer: str) -> tuple[str, str]:
    """The credential id and the handle, empty if there is none, of an answer that was not checked yet.

    Raises:
        BadPasskey: it cannot be read.
    """
    try:
        response = AuthenticationResponse.from_dict(_document(answer))
        return encode(response.raw_id), encode(response.response.user_handle or b"")
    except BadPasskey:
        raise
    except Exception as error:  # as above
        raise BadPasskey(_why(error)) from error


def asserted(
    party: RelyingParty, challenge: bytes, answer: str, passkey: Passkey, *, handle: str, verified: bool
) -> Assertion:
    """Check the signature of a passkey (WebAuthn section 7.2); the counter is for the caller to compare.

    Args:
        party: the site.
        challenge: that was issued for this sign-in.
        answer: of the browser.
        passkey: that the answer names.
        handle: of its administrator.
        verified: the authenticator had to make sure of the person.

    Raises:
        BadPasskey: the answer is not good.
    """
    try:
        if passkey.rp_id != party.rp_id:
            raise BadPasskey(f"it was made for {passkey.rp_id}")
        server = _server(party)
        _, state = server.authenticate_begin(None, _verification(verified), challenge)
        response = AuthenticationResponse.from_dict(_document(answer))
        _refuse_frames(response.response.client_data.cross_origin)
        given = response.response.user_handle
        if given and encode(given) != handle:
            raise BadPasskey("it belongs to somebody else")
        key = CoseKey.parse(cbor.decode(decode(passkey.public_key)))  # type: ignore[arg-type]  # stored by us
        _check_key(key)
        stored = AttestedCredentialData.create(Aaguid.NONE, decode(passkey.id), key)
        server.authenticate_complete(state, [stored], response)
        data = response.response.authenticator_data
        return Assertion(data.counter, data.is_backed_up())
    except BadPasskey:
        raise
    except Exception as error:  # as above
        raise BadPasskey(_why(error)) from error


def _server(party: RelyingParty) -> Fido2Server:
    server = Fido2Server(
        PublicKeyCredentialRpEntity(name=party.name, id=party.rp_id),
        AttestationConveyancePreference.NONE,
        verify_origin=lambda origin: origin in party.origins,
    )
    server.allowed_algorithms = [
        PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=alg) for alg in ALGORITHMS
    ]
    server.timeout = TIMEOUT_MS  # type: ignore[assignment]  # the library has no type for it
    return server


def _descriptors(passkeys: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            type=PublicKeyCredentialType.PUBLIC_KEY,
            id=decode(one.id),
            transports=[AuthenticatorTransport(way) for way in one.transports] or None,
        )
        for one in passkeys
    ]


def _verification(verified: bool) -> UserVerificationRequirement:
    return UserVerificationRequirement.REQUIRED if verified else UserVerificationRequirement.PREFERRED


def _plain(options: Any) -> dict[str, Any]:
    """Options as JSON has them."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: plain(item) for key, item in value.items() if item is not None}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value

    made: dict[str, Any] = plain(dict(options)["publicKey"])
    return made


def _document(answer: str) -> dict[str, Any]:
    if len(answer) > MAX_ANSWER_CHARS:
        raise BadPasskey(f"it is longer than {MAX_ANSWER_CHARS} characters")
    document = json.loads(answer)
    if not isinstance(document, dict) or not isinstance(document.get("response"), dict):
        raise BadPasskey("it is no JSON object with a response")
    if document.get("type") != "public-key":
        raise BadPasskey("it is no public key")
    return document


def _refuse_frames(cross_origin: object) -> None:
    if cross_origin:
        raise BadPasskey("it was made within a page of another site")


def _check_key(key: CoseKey) -> None:
    """Return if it is a key of one of `ALGORITHMS`, whole and of a sensible size.

    Raises:
        BadPasskey: it is not.
    """
    if key.get(3) not in ALGORITHMS:
        raise BadPasskey(f"its algorithm {key.get(3)!r} is none of {', '.join(map(str, ALGORITHMS))}")
    if key.get(3) == -257:
        bits, exponent = int.from_bytes(key[-1]).bit_length(), int.from_bytes(key[-2])
        if not RSA_BITS[0] <= bits <= RSA_BITS[1] or exponent >= MAX_EXPONENT:
            raise BadPasskey(f"its RSA key has {bits} bits, expected {RSA_BITS[0]} to {RSA_BITS[1]}")
    try:
        key.verify(b"", b"")
    except InvalidSignature:
        return  # the key itself could be used


def _why(error: Exception) -> str:
    text = str(error) if isinstance(error, ValueError) else ""
    return text[:200] or f"it cannot be read ({type(error).__name__})"
