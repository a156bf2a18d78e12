#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A user over REST with HTTPie 3. HTTPie takes credentials as arguments or from a session; the argument is seen by
# whoever may list processes on this host, so use an API key of little reach where others work too.
set -eu
: "${TIDEGATE_URL:=http://127.0.0.1:8080}" "${TIDEGATE_ADMIN:?}" "${TIDEGATE_PASSWORD:?}"
api="$TIDEGATE_URL/api/v2"

token=$(http --ignore-stdin --check-status -b -a "$TIDEGATE_ADMIN:$TIDEGATE_PASSWORD" "$api/token" |
    sed -n 's/.*"access_token": *"\([^"]*\)".*/\1/p')

ask() {
    http --ignore-stdin --check-status -b -A bearer -a "$token" "$@"
}

ask POST "$api/users" username=example password=Example-pass-1 status:=1 \
    permissions:='{"/": ["list", "download"]}' home_dir="${TIDEGATE_HOME:-/srv/sftp/example}"
ask GET "$api/users/example"
ask PUT "$api/users/example" quota_size:=5000000
ask DELETE "$api/users/example"
