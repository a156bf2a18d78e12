#!/bin/sh
# External authentication (data_provider.external_auth_hook): who can bind to the directory is let in.
# Settings come by command.env: LDAP_URL, LDAP_BASE and HOMES; LDAPTLS_CACERT for ldaps.
refuse() { echo '{"username":""}'; exit 0; }
: "${LDAP_URL:?}" "${LDAP_BASE:?}" "${HOMES:?}"

# The name goes into a DN and into JSON: letters, digits and . _ - alone, so that nothing needs quoting.
case "$SFTPGO_AUTHD_USERNAME" in
  '' | *[!A-Za-z0-9._-]* | .*) refuse ;;
esac
# A bind without a password succeeds for everybody (RFC 4513, 5.1.2).
test -n "$SFTPGO_AUTHD_PASSWORD" || refuse

# The password comes by standard input: arguments of programs can be seen by others.
printf '%s' "$SFTPGO_AUTHD_PASSWORD" |
  ldapwhoami -x -o nettimeout=10 -H "$LDAP_URL" -y /dev/stdin \
    -D "uid=$SFTPGO_AUTHD_USERNAME,$LDAP_BASE" >/dev/null 2>&1
case $? in
  0) ;;
  49) refuse ;;                     # invalid credentials
  *) echo "the directory does not answer" >&2; exit 1 ;;
esac
printf '{"status":1,"username":"%s","home_dir":"%s/%s","permissions":{"/":["*"]}}\n' \
  "$SFTPGO_AUTHD_USERNAME" "$HOMES" "$SFTPGO_AUTHD_USERNAME"
