# SPDX-License-Identifier: Apache-2.0
"""Table ``cors``: what browsers let pages of other sites ask a server for (CORS)."""

from __future__ import annotations

import re
from typing import Final

from pydantic import field_validator

from tidegate.config.schema.base import Section, key

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_ORIGIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9.:_*\[\]-]+")


class Cors(Section):
    """Requests that pages of other sites send by a browser."""

    enabled: bool = key(False, "Let the sites of `allowed_origins` send requests.")
    allowed_origins: list[str] = key(
        [],
        "Sites, such as `https://app.example.com`; one `*` in each stands for any part of a host name. `*` "
        "alone, or an empty list, is every site.",
    )
    allowed_methods: list[str] = key(
        [], "Methods that their pages may use, in upper case; empty is GET, HEAD and POST."
    )
    allowed_headers: list[str] = key(
        [],
        "Headers that their pages may send; `*` is any. Pages that log in by themselves need "
        "`Authorization`.",
    )
    exposed_headers: list[str] = key([], "Headers of answers that their pages may read, such as `ETag`.")
    allow_credentials: bool = key(
        False, "Let browsers add the login that they remember. Has no effect where every site is allowed."
    )
    max_age: int = key(
        0,
        "Time that browsers remember what is allowed; 0 leaves it to them, -1 has them ask each time.",
        unit="seconds",
        ge=-1,
        le=31_536_000,
    )
    options_passthrough: bool = key(
        False, "Answer preflight requests with all that OPTIONS tells, not with the permissions alone."
    )
    options_success_status: int = key(
        0, "Status of answers to preflight requests: 200 to 299; 0 is 204.", ge=0, le=299
    )
    allow_private_network: bool = key(
        False, "Let pages of public sites ask this server where it is in a private network."
    )

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, texts: list[str]) -> list[str]:
        for text in texts:
            if text != "*" and (not _ORIGIN.fullmatch(text) or text.count("*") > 1):
                raise ValueError(
                    f"expected * or an origin such as https://app.example.com, without a path, got {text!r}"
                )
        return texts

    @field_validator("allowed_methods", "allowed_headers", "exposed_headers")
    @classmethod
    def _tokens(cls, texts: list[str]) -> list[str]:
        for text in texts:
            if not _TOKEN.fullmatch(text):
                raise ValueError(f"expected a name without spaces, got {text!r}")
        return texts

    @field_validator("options_success_status")
    @classmethod
    def _status(cls, status: int) -> int:
        if status and status < 200:
            raise ValueError(f"expected 0 or a status of 200 to 299, got {status}")
        return status
