# SPDX-License-Identifier: Apache-2.0
"""Write the files about the REST API that others read: OpenAPI 3.1 and 3.0, and a collection for Postman.

``make docs`` writes them, tests/web/test_api_files.py compares.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final, cast

import yaml

ROOT: Final = Path(__file__).resolve().parent.parent
METHODS: Final = ("get", "post", "put", "patch", "delete")
LAST: Final = "sign out"
BASE: Final = "http://127.0.0.1:8080"


def description() -> dict[str, Any]:
    """The description that a server of this version gives (OpenAPI 3.1)."""
    from tidegate.web.api.application import build
    from tidegate.web.api.services import Services

    # Routes are described without what their handlers work with.
    return json.loads(json.dumps(build(cast("Services", None)).openapi()))


def as_3_0(made: dict[str, Any]) -> dict[str, Any]:
    """The same in the words of OpenAPI 3.0.3, whose schemas are not yet those of JSON Schema."""
    found = cast("dict[str, Any]", _older(made))
    found["openapi"] = "3.0.3"
    return found


def _older(value: Any) -> Any:
    if isinstance(value, list):
        return [_older(one) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: _older(one) for key, one in value.items()}
    parts = made.get("anyOf")
    if isinstance(parts, list) and {"type": "null"} in parts:
        rest = [one for one in parts if one != {"type": "null"}]
        del made["anyOf"]
        if len(rest) == 1 and "$ref" not in rest[0]:
            made = {**made, **rest[0]}
        else:
            made["anyOf"] = rest
        made["nullable"] = True
    for key, other in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(made.get(key), (int, float)) and not isinstance(made[key], bool):
            made[other], made[key] = made[key], True
    if "const" in made:
        made["enum"] = [made.pop("const")]
    if "$ref" in made and len(made) > 1:
        made["allOf"] = [{"$ref": made.pop("$ref")}]
    return made


def postman(made: dict[str, Any]) -> dict[str, Any]:
    """A collection of every call, by tag (Postman Collection Format 2.1.0).

    ``GET /token`` keeps the token for the others; name and password are variables of the collection.
    """
    folders: dict[str, list[dict[str, Any]]] = {}
    for path, item in made["paths"].items():
        for method in METHODS:
            if (operation := item.get(method)) is not None:
                tag = LAST if path.endswith("/logout") else (operation.get("tags") or ["other"])[0]
                folders.setdefault(tag, []).append(_request(made, path, method, operation))
    # A run of the whole collection needs its token to the end.
    folders[LAST] = folders.pop(LAST)
    return {
        "info": {
            "name": "Tidegate REST API",
            "description": "Set the variables baseUrl, name and password, then send GET token first.",
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "variable": [
            {"key": "baseUrl", "value": BASE},
            {"key": "name", "value": "alice"},
            {"key": "password", "value": ""},
            {"key": "token", "value": ""},
        ],
        "item": [{"name": tag, "item": calls} for tag, calls in folders.items()],
    }


def _request(made: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    parameters = operation.get("parameters", [])
    words = [
        f":{part[1:-1]}" if part.startswith("{") else part.replace("{", "{{").replace("}", "}}")
        for part in path.replace(":path}", "}").strip("/").split("/")
    ]
    query = [
        {
            "key": one["name"],
            "value": str(one["schema"].get("default", "")),
            "description": one.get("description", ""),
            "disabled": not one.get("required", False),
        }
        for one in parameters
        if one["in"] == "query"
    ]
    url: dict[str, Any] = {
        "raw": "{{baseUrl}}/" + "/".join(words),
        "host": ["{{baseUrl}}"],
        "path": words,
    }
    if query:
        url["query"] = query
    if variables := [
        {"key": one["name"], "value": "", "description": one.get("description", "")}
        for one in parameters
        if one["in"] == "path"
    ]:
        url["variable"] = variables
    headers = [
        {"key": one["name"], "value": "", "description": one.get("description", ""), "disabled": True}
        for one in parameters
        if one["in"] == "header"
    ]
    request: dict[str, Any] = {
        "method": method.upper(),
        "header": headers,
        "url": url,
        "description": operation.get("description", operation.get("summary", "")),
    }
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        language = "json" if kind.endswith("json") else "text"
        headers.append({"key": "Content-Type", "value": kind})
        body = json.dumps(_example(made, content.get("schema", {})), indent=2) if language == "json" else ""
        request["body"] = {"mode": "raw", "raw": body, "options": {"raw": {"language": language}}}
        break
    call: dict[str, Any] = {"name": operation.get("summary", operation["operationId"]), "request": request}
    security = operation.get("security")
    if security == []:
        request["auth"] = {"type": "noauth"}
    elif security is not None and {"basic": []} in security:
        request["auth"] = {
            "type": "basic",
            "basic": [
                {"key": "username", "value": "{{name}}", "type": "string"},
                {"key": "password", "value": "{{password}}", "type": "string"},
            ],
        }
        if path.endswith("/api/v2/token"):
            keep = "pm.collectionVariables.set('token', pm.response.json().access_token);"
            call["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": [keep]}}]
    return call


def _example(made: dict[str, Any], schema: dict[str, Any]) -> Any:
    """The required fields of a schema, one level deep."""
    name = schema.get("$ref", "").rpartition("/")[2]
    found = made["components"]["schemas"].get(name, schema)
    if found.get("type") != "object" and "properties" not in found:
        return {}
    properties = found.get("properties", {})
    wanted = found.get("required") or list(properties)[:1]
    return {key: _empty(properties.get(key, {})) for key in wanted}


def _empty(schema: dict[str, Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    return {"integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}.get(
        schema.get("type", "string"), ""
    )


def as_yaml(document: dict[str, Any]) -> str:
    """A document as YAML, in its own order."""
    head = "# Made by tools/api_files.py from the code; `make docs` writes it again.\n"
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)


def files() -> dict[Path, str]:
    """Every file with its text."""
    made = description()
    rest = ROOT / "examples" / "rest"
    return {
        rest / "openapi.yaml": as_yaml(made),
        rest / "openapi-3.0.yaml": as_yaml(as_3_0(made)),
        rest / "tidegate.postman_collection.json": json.dumps(postman(made), indent=1, ensure_ascii=False)
        + "\n",
    }


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    for file, text in files().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(f"wrote {file}")
