#!/bin/sh
# Questions of keyboard-interactive (sftpd.keyboard_interactive_auth_hook): two rounds; the last answer decides.
echo '{"questions":["Question1: ","Question2: "],"instruction":"This is a sample for keyboard interactive authentication","echos":[true,false]}'
read -r ANSWER1
read -r ANSWER2
echo '{"questions":["Question3: "],"instruction":"","echos":[true]}'
read -r ANSWER3
if test "$ANSWER3" = "answer3" && test -n "$ANSWER1$ANSWER2"; then
  echo '{"auth_result":1}'
else
  echo '{"auth_result":-1}'
fi
