#!/bin/bash
# Hook before a login (data_provider.pre_login_hook): test_user may log in from 10:00 to 18:00, local time.
# All others stay as they are. The answer is the part of the account that changes.
CURRENT_TIME=$(date +%H:%M)
if [[ "$SFTPGO_LOGIND_USER" =~ \"username\":\"test_user\" ]]
then
  if [[ $CURRENT_TIME > "18:00" || $CURRENT_TIME < "10:00" ]]
  then
    echo '{"status":0}'
  else
    echo '{"status":1}'
  fi
fi
