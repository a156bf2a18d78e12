#!/bin/sh
tidegate=/opt/tidegate/venv/bin/tidegate
port=4444
pubkey=/opt/tidegate/client.pub
dir=/mnt/media
state=/opt/tidegate/state

# exec: systemd's signals have to reach the server, not this shell.
exec "$tidegate" portable --username mediauser --public-key "$pubkey" --sftpd-port "$port" \
    --directory "$dir" --permissions '*' --state-dir "$state" --log-file-path -
