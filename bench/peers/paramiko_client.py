"""One file by paramiko's client with its default algorithms: HOST PORT USER KEY get|put REMOTE LOCAL."""

import sys

import paramiko

host, port, user, key, verb, remote, local = sys.argv[1:]
with paramiko.Transport((host, int(port))) as transport:
    transport.connect(username=user, pkey=paramiko.Ed25519Key.from_private_key_file(key))
    with paramiko.SFTPClient.from_transport(transport) as sftp:
        if verb == "get":
            sftp.get(remote, local)
        else:
            sftp.put(local, remote)
    print(transport.remote_cipher, transport.remote_mac)
