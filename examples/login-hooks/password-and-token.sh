#!/bin/sh
# Questions of keyboard-interactive: the server checks the password, then the script a token.
# TOKENS has a line for each user: NAME:TOKEN.
TOKENS=${TOKENS:-/etc/tidegate/tokens}
echo '{"questions":["Password: "],"echos":[false],"check_password":1}'
read -r CHECKED
test "$CHECKED" = "OK" || exit 1
echo '{"questions":["Token: "],"echos":[false]}'
read -r TOKEN
if grep -qxF -- "$SFTPGO_AUTHD_USERNAME:$TOKEN" "$TOKENS"; then
  echo '{"auth_result":1}'
else
  echo '{"auth_result":-1}'
fi
