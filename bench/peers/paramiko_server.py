"""A paramiko SFTP server, one thread a connection, for comparison."""

import os
import socket
import sys
import threading

import paramiko

address, port, root, keyfile = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
with open(keyfile) as stream:
    allowed = stream.read().split()[1]
host_key = paramiko.RSAKey.generate(2048)


class Auth(paramiko.ServerInterface):
    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL if key.get_base64() == allowed else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def get_allowed_auths(self, username):
        return "publickey"


class Handle(paramiko.SFTPHandle):
    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))

    def chattr(self, attr):
        return paramiko.SFTP_OK


class Files(paramiko.SFTPServerInterface):
    def _real(self, path):
        return root + self.canonicalize(path)

    def list_folder(self, path):
        with os.scandir(self._real(path)) as entries:
            return [paramiko.SFTPAttributes.from_stat(e.stat(follow_symlinks=False), e.name) for e in entries]

    def stat(self, path):
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(self._real(path)))
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    lstat = stat

    def open(self, path, flags, attr):
        try:
            fd = os.open(self._real(path), flags, 0o644)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        handle = Handle(flags)
        mode = "r+b" if flags & os.O_RDWR else "wb" if flags & os.O_WRONLY else "rb"
        handle.readfile = handle.writefile = os.fdopen(fd, mode)
        return handle

    def mkdir(self, path, attr):
        os.makedirs(self._real(path), exist_ok=True)
        return paramiko.SFTP_OK

    def chattr(self, path, attr):
        return paramiko.SFTP_OK


def serve(client):
    transport = paramiko.Transport(client)
    transport.add_server_key(host_key)
    transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
    try:
        transport.start_server(server=Auth())
        while transport.is_active():
            transport.join(1)
    except (paramiko.SSHException, EOFError):
        transport.close()


listener = socket.create_server((address, port), backlog=100)
while True:
    connection, _ = listener.accept()
    threading.Thread(target=serve, args=(connection,), daemon=True).start()
