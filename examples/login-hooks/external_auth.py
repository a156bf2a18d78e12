#!/usr/bin/python3 -I
"""External authentication (data_provider.external_auth_hook) against a JSON file of our own.

PARTNERS names the file: {"NAME": {"salt": HEX, "scrypt": HEX, "home": DIRECTORY}}. Public keys and questions
are left to the accounts of the server: set data_provider.external_auth_scope to 1.
"""

import hashlib
import hmac
import json
import os
import sys


def main() -> None:
    """Answer the user, or one without a name."""
    name, password = os.environ["SFTPGO_AUTHD_USERNAME"], os.environ["SFTPGO_AUTHD_PASSWORD"]
    with open(os.environ["PARTNERS"], encoding="utf-8") as file:
        partner = json.load(file).get(name)
    # An unknown name costs the same work.
    salt = bytes.fromhex(partner["salt"]) if partner else b"\0" * 16
    made = hashlib.scrypt(password.encode("utf-8", "surrogateescape"), salt=salt, n=2**14, r=8, p=1)
    if not partner or not hmac.compare_digest(made.hex(), partner["scrypt"]):
        json.dump({"username": ""}, sys.stdout)
        return
    user = {"username": name, "status": 1, "home_dir": partner["home"], "permissions": {"/": ["*"]}}
    json.dump(user, sys.stdout)


if __name__ == "__main__":
    main()
