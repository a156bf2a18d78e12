# SPDX-License-Identifier: Apache-2.0
"""The certificate of a section, which its bindings have unless they name one of their own."""

from __future__ import annotations

from typing import Any, Final

_KEYS: Final = ("certificate_file", "certificate_key_file")


def given_to_bindings(section: Any) -> Any:
    """A section as it was written, with its certificate in each binding that names neither file.

    What is no section, or no binding, is left to the checks that follow.
    """
    if not isinstance(section, dict) or not all(section.get(key) for key in _KEYS):
        return section
    bindings = section.get("bindings")
    if not isinstance(bindings, list):
        return section
    own = {key: section[key] for key in _KEYS}
    return {
        **section,
        "bindings": [
            {**binding, **own}
            if isinstance(binding, dict) and not any(binding.get(key) for key in _KEYS)
            else binding
            for binding in bindings
        ],
    }


def checked_suites(names: list[str]) -> list[str]:
    """The names of cipher suites, if each is one of `tidegate.model.tls_suites`.

    Raises:
        ValueError: one is not.
    """
    if names:
        from tidegate.model.tls_suites import SUITES  # few name any

        for name in names:
            if name not in SUITES:
                raise ValueError(
                    f"expected names such as TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, got {name!r}"
                )
    return names
