# SPDX-License-Identifier: Apache-2.0
"""Section ``sftpd``: the SSH server and what runs over it."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import field_validator

from tidegate.config.schema.base import HOOK, HOOK_LIKE, PROGRAM, PROGRAM_LIKE, Section, key

SSH_COMMANDS: Final = (
    "md5sum", "sha1sum", "sha256sum", "sha384sum", "sha512sum", "b3sum", "crc32sum", "cd", "pwd", "scp", "df",
    "tidegate-copy", "tidegate-remove", "sftpgo-copy", "sftpgo-remove",
    "git-receive-pack", "git-upload-pack", "git-upload-archive", "rsync",
)  # fmt: skip
"""SSH commands of this version."""


class SftpBinding(Section):
    """One address that the SSH server listens on."""

    port: int = key(2022, "TCP port; 0 switches the binding off.", ge=0, le=65_535)
    address: str = key("", "Address or host name to listen on; empty listens on every address.")
    rename_onto: Literal["", "refuse", "replace"] = key(
        "", "As `sftpd.rename_onto`, for those who come by this address; empty leaves it to that key."
    )
    apply_proxy_config: bool = key(True, "Whether `common.proxy_protocol` applies here.", available=False)


class Programs(Section):
    """Programs of the system that `enabled_ssh_commands` lets clients run: git and rsync."""

    confinement: Literal["landlock", "strict", "none"] = key(
        "landlock",
        "What keeps a program in the directories that it is about: `landlock` needs Landlock (Linux 5.13) "
        "and takes namespaces where the system lets it, `strict` needs both, `none` takes what there is and "
        "starts the program even if that is nothing.",
    )
    time_limit: int = key(
        86_400, "Time that one program may run; 0 no limit.", unit="seconds", ge=0, le=31_536_000
    )
    output_limit: int = key(
        0, "Data that one program may send to the client; 0 no limit.", unit="MB", ge=0, le=1_000_000_000
    )
    copy_limit: int = key(
        1024,
        "Size of a git repository on other storage than local disk, which is copied for each command.",
        unit="MB",
        ge=1,
        le=1_000_000,
    )
    memory_limit: int = key(
        2048, "Address space of each process of a program; 0 no limit.", unit="MiB", ge=0, le=1_000_000
    )


class Sftpd(Section):
    """The SSH server: SFTP, and SSH commands."""

    bindings: list[SftpBinding] = key([SftpBinding()], "Addresses to listen on.")
    host_keys: list[str] = key(
        [],
        "Private host key files, relative to the configuration directory; empty uses id_ed25519 and id_rsa "
        "there, generated if missing, and id_ecdsa if it exists. Files that are named here are generated if "
        "missing when they have one of these three names.",
    )
    host_certificates: list[str] = key(
        [],
        "Certificates of the host keys (`ssh-keygen -h -s`), relative to the configuration directory. Each "
        "belongs to one of the host keys. Clients that trust its authority need not know the key.",
    )
    trusted_user_ca_keys: list[str] = key(
        [],
        "Files with public keys of authorities, relative to the configuration directory. A user certificate "
        "of one of them logs in whoever its principals name, without a stored key.",
    )
    revoked_user_certs_file: str = key(
        "",
        "File of revoked user certificates, relative to the configuration directory: a JSON list of SHA256 "
        "fingerprints, or lines and binary lists of `ssh-keygen -k`. A change holds from the next login on; "
        "while the file cannot be read, certificates are refused.",
    )
    banner: str = key(
        "",
        "Software name in the SSH identification line; empty tells Tidegate's (see `common.server_version`). "
        "Links come out the right way round whatever it is, but for clients that choose the order of "
        "SYMLINK by it and do not tell their name: they look for `OpenSSH` in it.",
        pattern=r"^[!-,.-~]{0,200}$",
        like="up to 200 printable ASCII characters without space and minus",
    )
    login_banner_file: str = key(
        "", "Text file sent before the login, relative to the configuration directory; empty sends none."
    )
    max_auth_tries: int = key(
        0, "Failed login attempts in one connection: 0 means 6, negative no limit.", ge=-1, le=1000
    )
    login_timeout: int = key(
        120, "Time a client has to log in after connecting.", unit="seconds", ge=1, le=3600
    )
    silent_timeout: int = key(
        30,
        "Time within which a client that has not begun to log in must send something.",
        unit="seconds",
        ge=1,
        le=3600,
    )
    max_startups: str = key(
        "500:30:2000",
        "Connections that have not logged in, as `start:rate:full`: from `start` on the longest silent one "
        "makes room for a new one; if there is none, `rate` percent of new ones are refused at random, "
        "rising to all of them at `full`. One number refuses all from there on; 0 no limit.",
        pattern=r"^([0-9]{1,7}|[1-9][0-9]{0,6}:([1-9][0-9]?|100):[1-9][0-9]{0,6})$",
        like="start:rate:full, such as 500:30:2000",
    )
    max_startups_per_source: int = key(
        50,
        "Connections of one client address that have not logged in, once `start` is reached; 0 no limit.",
        ge=0,
        le=10_000_000,
    )
    password_authentication: bool = key(True, "Whether passwords are accepted over SSH.")
    keyboard_interactive_authentication: bool = key(
        True, "Whether the password may be given by keyboard-interactive too."
    )
    min_dh_group_exchange_key_size: int = key(
        0, "Least size of groups in diffie-hellman-group-exchange.", unit="bits", available=False
    )
    kex_algorithms: list[str] = key(
        [], "Key exchange algorithms, best first; empty uses the safe ones, post-quantum first."
    )
    ciphers: list[str] = key([], "Ciphers, best first; empty uses AEAD ciphers, then AES in counter mode.")
    macs: list[str] = key([], "Message authentication codes, best first; empty uses SHA-2 ones.")
    host_key_algorithms: list[str] = key(
        [], "Signature algorithms for host keys, best first; empty uses the safe ones (no SHA-1)."
    )
    public_key_algorithms: list[str] = key(
        [], "Signature algorithms accepted from clients; empty accepts the safe ones (no SHA-1)."
    )
    enabled_ssh_commands: list[str] = key(
        ["md5sum", "sha1sum", "sha256sum", "cd", "pwd", "scp"],
        "SSH commands that may be run, of " + ", ".join(SSH_COMMANDS) + "; `*` means all.",
    )
    scp_shell: bool = key(
        False,
        "Answer the command lines of WinSCP's SCP mode (`ls`, `mv`, `chmod` and the like), which it sends to "
        "a shell, where `scp` is enabled. No shell runs; each acts by the account's permissions.",
    )
    programs: Programs = key(Programs(), "Bounds of git and rsync, where they are enabled.")
    rekey_bytes: int = key(
        1 << 30, "Data after which keys are exchanged again.", unit="bytes", ge=64 * 1024, le=1 << 40
    )
    rekey_seconds: int = key(
        3600, "Time after which keys are exchanged again; 0 by data alone.", unit="seconds", ge=0, le=86_400
    )
    keepalive_interval: int = key(
        0,
        "Time of silence after which the client is asked whether it is there; 0 never asks. Keepalives "
        "are no activity: `common.idle_timeout` counts on.",
        unit="seconds",
        ge=0,
        le=86_400,
    )
    keepalive_count: int = key(
        3, "Keepalives without an answer after which the connection is closed.", ge=1, le=100
    )
    rename_onto: Literal["refuse", "replace"] = key(
        "refuse",
        "What RENAME does with a new name that exists, where neither account nor binding says: `refuse`, as "
        "the draft has it, or `replace`, as SFTPGo does. posix-rename@openssh.com always replaces.",
    )
    fast_lane: bool = key(
        True,
        "Seal and open channel data of AEAD ciphers and of AES in counter mode on the short path; switch off "
        "to exclude it as a cause.",
    )

    keyboard_interactive_auth_hook: str = key(
        "",
        "Program (absolute path) or URL that asks the questions of keyboard-interactive, in any number of "
        "rounds.",
        pattern=HOOK,
        like=HOOK_LIKE,
    )
    keyboard_interactive_auth_program: str = key(
        "",
        "The same as a program, by its name in SFTPGo 0.9.",
        pattern=PROGRAM,
        like=PROGRAM_LIKE,
    )

    @property
    def strictest_rename_onto(self) -> str:
        """The rule for `explain`, which does not know the binding: `refuse` if any of them refuses."""
        chosen = {binding.rename_onto or self.rename_onto for binding in self.bindings if binding.port}
        return chosen.pop() if len(chosen) == 1 else "refuse" if chosen else self.rename_onto

    @field_validator("max_startups")
    @classmethod
    def _in_order(cls, text: str) -> str:
        start, _, full = text.partition(":")[0], *text.rpartition(":")[1:]
        if int(full) < int(start):
            raise ValueError(f"start is above full in {text!r}")
        return text

    @field_validator("enabled_ssh_commands")
    @classmethod
    def _known_commands(cls, commands: list[str]) -> list[str]:
        known = ("*", *SSH_COMMANDS)
        unknown = next((command for command in commands if command not in known), None)
        if unknown is not None:
            raise ValueError(f"unknown SSH command {unknown!r}, expected some of {', '.join(known)}")
        return commands

    # -- accepted, not acted on ----------------------------------------------------------------------------
    moduli: list[str] = key([], "Files with Diffie-Hellman groups.", available=False)
    opkssh_path: str = key("", "OpenPubkey verifier.", available=False)
    opkssh_checksum: str = key("", "Checksum of the OpenPubkey verifier.", available=False)
    folder_prefix: str = key("", "Prefix shown to SFTP clients.", available=False)
