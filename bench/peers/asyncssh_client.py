"""One file by asyncssh's client with its default algorithms: HOST PORT USER KEY get|put REMOTE LOCAL."""

import sys

import asyncssh
import uvloop

host, port, user, key, verb, remote, local = sys.argv[1:]


async def main() -> None:
    async with (
        asyncssh.connect(
            host, int(port), username=user, client_keys=[key], known_hosts=None, config=None
        ) as connection,
        connection.start_sftp_client() as sftp,
    ):
        if verb == "get":
            await sftp.get(remote, local)
        else:
            await sftp.put(local, remote)
        print(connection.get_extra_info("recv_cipher"), connection.get_extra_info("recv_mac"))


uvloop.run(main())
