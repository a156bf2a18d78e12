# SPDX-License-Identifier: Apache-2.0
"""Section ``kms``: the master key that encrypts secrets of records."""

from __future__ import annotations

from tidegate.config.schema.base import Section, key


class SecretKeys(Section):
    """The master key: one of `master_key`, `master_key_path` and `master_key_command`. Read once."""

    url: str = key("", "Key management service of the compatible configuration.", available=False)
    master_key: str = key(
        "",
        "32 bytes in hex or base64, or a passphrase of 16 characters or more; a variable "
        "(`TIDEGATE_KMS__SECRETS__MASTER_KEY`) or a file keeps it out of this file.",
        secret=True,
    )
    master_key_path: str = key("", "File that holds it, as `master_key` or as 32 bytes.")
    master_key_command: list[str] = key(
        [],
        "Program and arguments that print it, within 10 seconds and 4096 bytes; run without a shell and "
        "with no environment but `PATH`.",
    )
    old_master_key_paths: list[str] = key(
        [],
        "Files of former master keys: they still open secrets and encrypt none; for the time until "
        "`tidegate secrets rotate` is done.",
    )


class KmsKeys(Section):
    """Encryption of secrets."""

    secrets: SecretKeys = key(
        SecretKeys(), "Secrets in records of accounts and folders; without a master key they stay plain text."
    )
