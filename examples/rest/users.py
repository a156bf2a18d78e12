# SPDX-License-Identifier: Apache-2.0
"""A user over REST with Python's standard library alone."""

import base64
import json
import os
import urllib.request

URL = os.environ.get("TIDEGATE_URL", "http://127.0.0.1:8080") + "/api/v2"


def ask(method: str, path: str, authorization: str, document: object = None) -> object:
    """Send one call; an answer that is none of success raises `urllib.error.HTTPError`."""
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    body = None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(f"{URL}/{path}", body, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def main() -> None:
    """Add, read, change and remove a user."""
    pair = f"{os.environ['TIDEGATE_ADMIN']}:{os.environ['TIDEGATE_PASSWORD']}"
    token = ask("GET", "token", f"Basic {base64.b64encode(pair.encode()).decode()}")["access_token"]  # type: ignore[index]
    bearer = f"Bearer {token}"
    home = os.environ.get("TIDEGATE_HOME", "/srv/sftp/example")
    user = {
        "username": "example",
        "password": "Example-pass-1",
        "status": 1,
        "permissions": {"/": ["list", "download"]},
        "home_dir": home,
    }
    print(ask("POST", "users", bearer, user))
    print(ask("GET", "users/example", bearer))
    print(ask("PUT", "users/example", bearer, {"quota_size": 5_000_000}))
    print(ask("DELETE", "users/example", bearer))


if __name__ == "__main__":
    main()
