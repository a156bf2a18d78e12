# SPDX-License-Identifier: Apache-2.0
"""Flags of ``tidegate portable`` that name other storage than a directory of this host."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Final

import typer

from tidegate.errors import BadRecord, InvalidArgument, OperatorError
from tidegate.model import LOCAL, LOCAL_DISK, StorageConfig, StorageSpec
from tidegate.model.storage import NUMBERED
from tidegate.store.storages import kind_of

_BUCKETS: Final = {
    "s3": ("s3", "s3fs", "bucket"),
    "gcs": ("gcs", "gcsfs", "bucket"),
    "azblob": ("az", "azblobfs", "container"),
    "crypt": ("crypto", "cryptfs", "passphrase"),
    "sftp": ("sftp", "sftpfs", "endpoint"),
}
"""By kind: how its flags begin, its name as a provider, and the option that it cannot do without."""
_NUMBERS: Final = frozenset(str(number) for number in range(len(NUMBERED)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageFlags:
    """Flags of the command that name the storage."""

    fs_provider: Annotated[
        str,
        typer.Option(
            "--fs-provider",
            "--fs",
            "-f",
            metavar="KIND",
            help="Storage that is shared: osfs (a directory of this host), s3fs (a bucket of S3), gcsfs "
            "(one of Google Cloud Storage), azblobfs (a container of Azure Blob), cryptfs (a directory of "
            "encrypted files) or sftpfs (a directory of another SFTP server). Also local, s3, gcs, azblob, "
            "crypt, sftp, and 0 to 5.",
        ),
    ] = "osfs"
    s3_bucket: Annotated[str, typer.Option("--s3-bucket", help="Bucket.")] = ""
    s3_region: Annotated[str, typer.Option("--s3-region", help="Its region.")] = ""
    s3_access_key: Annotated[
        str,
        typer.Option(
            "--s3-access-key",
            help="Access key; without one credentials are looked for as the AWS tools do.",
        ),
    ] = ""
    s3_access_secret: Annotated[
        str,
        typer.Option(
            "--s3-access-secret",
            help="Its secret. Others on this host can see it while the server runs: prefer the variables "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
        ),
    ] = field(default="", repr=False)
    s3_role_arn: Annotated[str, typer.Option("--s3-role-arn", help="Role to assume.")] = ""
    s3_external_id: Annotated[str, typer.Option("--s3-external-id", help="What the role asks for.")] = ""
    s3_endpoint: Annotated[
        str,
        typer.Option("--s3-endpoint", metavar="URL", help="Another store that speaks S3: https://host:port."),
    ] = ""
    s3_storage_class: Annotated[
        str, typer.Option("--s3-storage-class", help="Storage class of new objects.")
    ] = ""
    s3_acl: Annotated[str, typer.Option("--s3-acl", help="Canned ACL of new objects.")] = ""
    s3_key_prefix: Annotated[
        str,
        typer.Option("--s3-key-prefix", help="Share what is below this prefix, for instance folder/sub/."),
    ] = ""
    s3_upload_part_size: Annotated[int, typer.Option("--s3-upload-part-size", help="MiB; 0 is 5.")] = 0
    s3_upload_concurrency: Annotated[
        int,
        typer.Option("--s3-upload-concurrency", help="Parts of one upload on their way; 0 is 15 MiB."),
    ] = 0
    s3_force_path_style: Annotated[
        bool, typer.Option("--s3-force-path-style", help="host/bucket in place of bucket.host.")
    ] = False
    s3_skip_tls_verify: Annotated[
        bool,
        typer.Option("--s3-skip-tls-verify", help="Take any certificate: whoever is in between reads all."),
    ] = False
    s3_ca_file: Annotated[
        str, typer.Option("--s3-ca-file", metavar="FILE", help="Certificates to trust (PEM).")
    ] = ""

    gcs_bucket: Annotated[str, typer.Option("--gcs-bucket", help="Bucket.")] = ""
    gcs_credentials_file: Annotated[
        str,
        typer.Option(
            "--gcs-credentials-file",
            metavar="FILE",
            help="JSON of the key of a service account; or those below.",
        ),
    ] = ""
    gcs_automatic_credentials: Annotated[
        int | None,
        typer.Option(
            "--gcs-automatic-credentials",
            min=0,
            max=1,
            help="1: credentials of this host, as Google's tools find them. The default without a file.",
        ),
    ] = None
    gcs_endpoint: Annotated[
        str, typer.Option("--gcs-endpoint", metavar="URL", help="Another server: https://host:port.")
    ] = ""
    gcs_storage_class: Annotated[
        str, typer.Option("--gcs-storage-class", help="Storage class of new objects.")
    ] = ""
    gcs_acl: Annotated[str, typer.Option("--gcs-acl", help="Predefined ACL of new objects.")] = ""
    gcs_key_prefix: Annotated[
        str,
        typer.Option("--gcs-key-prefix", help="Share what is below this prefix, for instance folder/sub/."),
    ] = ""
    gcs_upload_part_size: Annotated[int, typer.Option("--gcs-upload-part-size", help="MiB; 0 is 5.")] = 0
    gcs_ca_file: Annotated[
        str, typer.Option("--gcs-ca-file", metavar="FILE", help="Certificates to trust (PEM).")
    ] = ""

    az_container: Annotated[str, typer.Option("--az-container", help="Container.")] = ""
    az_account_name: Annotated[
        str,
        typer.Option("--az-account-name", help="Storage account; by default that of AZURE_STORAGE_ACCOUNT."),
    ] = ""
    az_account_key: Annotated[
        str,
        typer.Option(
            "--az-account-key",
            help="Its key. Others on this host can see it while the server runs: prefer the variable "
            "AZURE_STORAGE_KEY. Without one: a managed or workload identity, or AZURE_CLIENT_ID and so on.",
        ),
    ] = field(default="", repr=False)
    az_sas_url: Annotated[
        str,
        typer.Option(
            "--az-sas-url", metavar="URL", help="URL with a shared access signature, in place of a key."
        ),
    ] = field(default="", repr=False)
    az_endpoint: Annotated[
        str,
        typer.Option(
            "--az-endpoint",
            help="What follows the account in the name of its host, blob.core.windows.net by default; "
            "or https://host:port.",
        ),
    ] = ""
    az_access_tier: Annotated[
        str, typer.Option("--az-access-tier", help="Of new blobs: Hot, Cool, Cold or Archive.")
    ] = ""
    az_key_prefix: Annotated[
        str,
        typer.Option("--az-key-prefix", help="Share what is below this prefix, for instance folder/sub/."),
    ] = ""
    az_upload_part_size: Annotated[int, typer.Option("--az-upload-part-size", help="MiB; 0 is 5.")] = 0
    az_upload_concurrency: Annotated[
        int,
        typer.Option("--az-upload-concurrency", help="Parts of one upload on their way; 0 is 15 MiB."),
    ] = 0
    az_download_part_size: Annotated[int, typer.Option("--az-download-part-size", help="MiB; 0 is 2.")] = 0
    az_download_concurrency: Annotated[
        int,
        typer.Option("--az-download-concurrency", help="Requests of one download ahead; 0 is 12 MiB."),
    ] = 0
    az_use_emulator: Annotated[
        bool, typer.Option("--az-use-emulator", help="The endpoint is an emulator's.")
    ] = False
    az_ca_file: Annotated[
        str, typer.Option("--az-ca-file", metavar="FILE", help="Certificates to trust (PEM).")
    ] = ""

    crypto_passphrase: Annotated[
        str,
        typer.Option(
            "--crypto-passphrase",
            help="What the files are encrypted with. Others on this host can see it while the server runs: "
            "prefer --crypto-passphrase-file.",
        ),
    ] = field(default="", repr=False)
    crypto_passphrase_file: Annotated[
        str,
        typer.Option(
            "--crypto-passphrase-file", metavar="FILE", help="File whose first line is the passphrase."
        ),
    ] = ""

    sftp_endpoint: Annotated[
        str, typer.Option("--sftp-endpoint", metavar="HOST:PORT", help="SFTP server; without a port 22.")
    ] = ""
    sftp_username: Annotated[str, typer.Option("--sftp-username", help="Account there.")] = ""
    sftp_password: Annotated[
        str,
        typer.Option(
            "--sftp-password",
            help="Its password. Others on this host can see it while the server runs: prefer "
            "--sftp-password-file or --sftp-key-path.",
        ),
    ] = field(default="", repr=False)
    sftp_password_file: Annotated[
        str,
        typer.Option("--sftp-password-file", metavar="FILE", help="File whose first line is the password."),
    ] = ""
    sftp_key_path: Annotated[
        str, typer.Option("--sftp-key-path", metavar="FILE", help="Private key of the account.")
    ] = ""
    sftp_fingerprints: Annotated[
        list[str] | None,
        typer.Option(
            "--sftp-fingerprints",
            metavar="SHA256:...",
            help="Of the host key that the server may show, as ssh-keygen -l prints it. Repeatable.",
        ),
    ] = None
    sftp_prefix: Annotated[
        str, typer.Option("--sftp-prefix", help="Share this directory of it; by default /.")
    ] = ""
    sftp_disable_concurrent_reads: Annotated[
        bool, typer.Option("--sftp-disable-concurrent-reads", help="One read of a file at a time.")
    ] = False
    sftp_buffer_size: Annotated[int, typer.Option("--sftp-buffer-size", help="MiB; accepted, no effect.")] = 0

    def filesystem(self) -> StorageConfig:
        """The storage that they name.

        Raises:
            InvalidArgument: one is missing, wrong, or belongs to other storage.
            OperatorError: this storage is not installed.
        """
        number = int(self.fs_provider) if self.fs_provider in _NUMBERS else None
        kind = kind_of(self.fs_provider if number is None else number)
        if kind != LOCAL and kind not in _BUCKETS:
            every = ", ".join(["osfs", *(name for _, name, _ in _BUCKETS.values())])
            what = "is not available in this version" if kind in NUMBERED else f"is not one of {every}"
            raise InvalidArgument(f"--fs-provider: {self.fs_provider!r} {what}")
        for other, (begins, provider, _) in _BUCKETS.items():
            if other != kind and (given := self._given(begins)):
                raise InvalidArgument(f"{_flag(begins, next(iter(given)))} needs --fs-provider {provider}")
        if kind == LOCAL:
            return LOCAL_DISK
        begins, _, needed = _BUCKETS[kind]
        given = self._given(begins)
        if kind == "crypt":
            given = _with_first_line(given, "crypto", "passphrase")
        if not given.get(needed) and not given.get("sas_url"):
            raise InvalidArgument(f"{_flag(begins, needed)}: name the {needed}")
        if kind == "gcs":
            given = self._of_host(given)
        elif kind == "azblob":
            given = _of_environment(given)
        elif kind == "sftp":
            given = _with_key(given)
        config = StorageConfig(kind, {f"{kind}config": given})
        _check(config, begins)
        return config

    def _of_host(self, given: dict[str, object]) -> dict[str, object]:
        """Flags for Google Cloud Storage: credentials of the host unless others are given, paths absolute."""
        found = {
            name: str(Path(str(value)).absolute()) if name.endswith("_file") else value
            for name, value in given.items()
        }
        others = "credentials_file" in found or "endpoint" in found
        if self.gcs_automatic_credentials is None and not others:
            found["automatic_credentials"] = 1
        return found

    def _given(self, begins: str) -> dict[str, object]:
        """Options of flags that begin so, as far as they are given."""
        names = [item.name for item in fields(self) if item.name.startswith(f"{begins}_")]
        return {name.removeprefix(f"{begins}_"): value for name in names if (value := getattr(self, name))}


def _of_environment(given: dict[str, object]) -> dict[str, object]:
    """Flags for Azure Blob, with what the variables of its command-line tools say."""
    if "sas_url" in given:
        return given
    found = dict(given)
    for name, variable in (("account_name", "AZURE_STORAGE_ACCOUNT"), ("account_key", "AZURE_STORAGE_KEY")):
        if name not in given and (value := os.environ.get(variable)):
            found[name] = value
    return found


def _with_first_line(given: dict[str, object], begins: str, option: str) -> dict[str, object]:
    """Flags with the secret whose file they name."""
    found = dict(given)
    path = found.pop(f"{option}_file", None)
    if path is None:
        return found
    flag = _flag(begins, f"{option}_file")
    if option in found:
        raise InvalidArgument(f"give {_flag(begins, option)} or {flag}, not both")
    found[option] = _text_of(str(path), flag).partition("\n")[0].rstrip("\r")
    return found


def _text_of(path: str, flag: str) -> str:
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise InvalidArgument(f"{flag}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"{flag}: {path}: not in UTF-8") from None


def _with_key(given: dict[str, object]) -> dict[str, object]:
    """Flags for another SFTP server, with the key of the file that they name."""
    found = _with_first_line(given, "sftp", "password")
    path = found.pop("key_path", None)
    if path is not None:
        found["private_key"] = _text_of(str(path), "--sftp-key-path")
    return found


def _flag(begins: str, option: str) -> str:
    return f"--{begins}-{option.replace('_', '-')}"


def _check(config: StorageConfig, begins: str) -> None:
    from tidegate.backends.factory import StorageKinds

    kinds = StorageKinds()
    if (problem := kinds.problem(config)) is not None:
        raise OperatorError(problem)
    try:
        kinds.check(StorageSpec("/", config))
    except BadRecord as error:
        field, space, rest = error.what.partition(" ")
        raise InvalidArgument(f"{_flag(begins, field)}{space}{rest}") from None
