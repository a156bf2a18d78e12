"""asyncssh's own SFTP server on uvloop, for comparison."""

import sys

import asyncssh
import uvloop

address, port, root, key = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


class Files(asyncssh.SFTPServer):
    def __init__(self, chan: asyncssh.SSHServerChannel) -> None:
        super().__init__(chan, chroot=root)


async def main() -> None:
    server = await asyncssh.listen(
        address, port, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=key, sftp_factory=Files, allow_scp=False, login_timeout=60,
    )  # fmt: skip
    await server.wait_closed()


uvloop.run(main())
