#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A user over REST with curl 7.76 or later. The password goes in by standard input, so that no list of processes shows it.
set -eu
: "${TIDEGATE_URL:=http://127.0.0.1:8080}" "${TIDEGATE_ADMIN:?}" "${TIDEGATE_PASSWORD:?}"
api="$TIDEGATE_URL/api/v2"

ask() {  # ask METHOD PATH [BODY]: the answer; fails unless it is a success
    printf 'header = "Authorization: Bearer %s"\n' "$token" |
        curl -sS --fail-with-body -K - -X "$1" -H 'Content-Type: application/json' ${3:+--data "$3"} "$api/$2"
    echo
}

# Backslashes and quotes are escaped as curl's configuration wants it.
secret=$(printf '%s' "$TIDEGATE_ADMIN:$TIDEGATE_PASSWORD" | sed 's/\\/\\\\/g; s/"/\\"/g')
token=$(printf 'user = "%s"\n' "$secret" | curl -sS --fail-with-body -K - "$api/token" |
    sed -n 's/.*"access_token":"\([^"]*\)".*/\1/p')

ask POST users '{"username": "example", "password": "Example-pass-1", "status": 1, "permissions": {"/": ["list", "download"]}, "home_dir": "'"${TIDEGATE_HOME:-/srv/sftp/example}"'"}'
ask GET users/example
ask PUT users/example '{"quota_size": 5000000}'
ask DELETE users/example
