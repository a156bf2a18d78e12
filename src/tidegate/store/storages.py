# SPDX-License-Identifier: Apache-2.0
"""`filesystem` documents to and from `tidegate.model.StorageConfig`.

Their ``provider`` is a number or a name for what the field's other gateway knows, and a name for what a
package brings. This is the only place that knows those numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, cast

from pydantic import TypeAdapter

from tidegate.model import LOCAL, LOCAL_DISK, Account, Folder, StorageConfig
from tidegate.model.sealing import SecretPlace
from tidegate.model.secret_names import is_secret_option
from tidegate.model.storage import NUMBERED, provider_of
from tidegate.store import secrecy

Document = dict[str, Any]

_ELSEWHERE: Final = {
    "": LOCAL, "0": LOCAL, "osfs": LOCAL, "s3fs": "s3", "gcsfs": "gcs", "azblobfs": "azblob",
    "cryptfs": "crypt", "sftpfs": "sftp", "httpfs": "http",
}  # fmt: skip
"""Names that stand for those kinds in documents of some versions."""
_PLACES: Final = (
    "endpoint", "skip_tls_verify", "universe_domain", "account_name", "use_emulator", "fingerprints",
    "ca_file",
)  # fmt: skip
"""Options that decide who gets the secrets of a storage."""
_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def kind_of(provider: object) -> str | None:
    """The kind that a ``provider`` stands for; None if it can stand for none."""
    if provider is None:
        return LOCAL
    if isinstance(provider, str):
        kind = _ELSEWHERE.get(provider, provider)
        return kind if _KIND.fullmatch(kind) else None
    if isinstance(provider, int) and not isinstance(provider, bool) and 0 <= provider < len(NUMBERED):
        return NUMBERED[provider]
    return None


def unreachable(kind: str) -> str:
    """The note about a record whose storage cannot be used."""
    return f"{unavailable(kind)}: its files cannot be reached"


def unavailable(kind: str) -> str:
    """The note about a kind of storage that this server does not have."""
    return f"storage {provider_of(kind)} is not available in this version"


def decode_storage(document: Document) -> StorageConfig:
    """The configuration that a document describes.

    Raises:
        ValueError: its ``provider`` stands for no kind.
    """
    kind = kind_of(document.get("provider", 0))
    if kind is None:
        raise ValueError(f"{document.get('provider')!r} is not a provider")
    options = {name: value for name, value in document.items() if name != "provider"}
    return StorageConfig(kind, options) if options or kind != LOCAL else LOCAL_DISK


def encode_storage(config: StorageConfig) -> Document:
    """The document of a configuration; empty for local disk without options. It holds the secrets."""
    if config == LOCAL_DISK:
        return {}
    return {"provider": provider_of(config.kind), **config.options}


def shown_storage(config: StorageConfig) -> Document:
    """As `encode_storage`, without secrets."""
    return _masked(secrecy.without_secrets(encode_storage(config)))


def keep_secrets(given: StorageConfig, stored: StorageConfig) -> StorageConfig:
    """The storage after an update: secrets that it does not give stay as they are stored.

    None stays if they would be sent to another place, or to whoever stands in between: an administrator, who
    is never shown them, could have them sent to a server of their own.
    """
    if _sends_elsewhere(given.options, stored.options):
        return given
    return replace(given, options=secrecy.keep_hidden(given.options, stored.options, is_secret_option))


def check_given(given: StorageConfig, stored: StorageConfig, owner: SecretPlace, where: str) -> None:
    """Check the secrets of storage that somebody gives, after `keep_secrets`; see `secrecy.check_given`.

    Raises:
        BadRecord: names the field.
    """
    if given.options and given is not stored:
        moved = _sends_elsewhere(given.options, stored.options)
        secrecy.check_given(given.options, stored.options, owner.at("filesystem"), where, moved=moved)


def _sends_elsewhere(given: Mapping[str, object], stored: Mapping[str, object]) -> bool:
    if any((given.get(name) or "") != (stored.get(name) or "") for name in _PLACES):
        return True
    return any(
        _sends_elsewhere(section, before)
        for name, before in stored.items()
        if isinstance(before, dict) and isinstance(section := given.get(name), dict)
    )


def stricter_storage(stored: StorageConfig, given: StorageConfig) -> StorageConfig:
    """The storage of a folder that is described twice: what is not local wins, and what is stored.

    A folder that is local for one account and remote for another would serve the wrong files.
    """
    return given if stored.is_local and not given.is_local else stored


def storage_text(config: StorageConfig) -> str:
    """The document as JSON text, for a column."""
    return json.dumps(encode_storage(config))


def json_text(document: Document) -> str:
    """A document as it is stored."""
    return json.dumps(document, separators=(",", ":"))


def json_object(text: str | bytes) -> Document:
    """Read what `json_text` wrote.

    Raises:
        ValueError: it is no JSON object.
    """
    document = json.loads(text)
    if not isinstance(document, dict):
        raise ValueError("no object")
    return document


def dump_record(adapter: TypeAdapter[Any], record: Account | Folder) -> Document:
    """The fields of an account or folder, ``filesystem`` as a document."""
    document: Document = adapter.dump_python(record, mode="json")
    document["filesystem"] = encode_storage(record.filesystem)
    if isinstance(record, Account):
        for mount, written in zip(record.virtual_folders, document["virtual_folders"], strict=True):
            written["filesystem"] = encode_storage(mount.filesystem)
    return document


def fields_of(config: StorageConfig) -> Document:
    """A configuration as pydantic reads it."""
    return {"kind": config.kind, "options": config.options}


def load_record(adapter: TypeAdapter[Any], text: bytes) -> Any:
    """Read the JSON text that `dump_record` wrote.

    Raises:
        ValueError: it is no such text; a pydantic ValidationError is one.
    """
    document = cast("Document", json.loads(text))
    for holder in (document, *document.get("virtual_folders", ())):
        holder["filesystem"] = fields_of(decode_storage(holder.get("filesystem") or {}))
    return adapter.validate_python(document)


def _masked(document: Document) -> Document:
    shown: Document = {}
    for name, value in document.items():
        if not is_secret_option(name):
            shown[name] = _masked(value) if isinstance(value, dict) else value
    return shown
