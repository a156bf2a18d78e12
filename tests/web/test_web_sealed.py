# SPDX-License-Identifier: Apache-2.0
"""Secrets of storage by REST: never in an answer, kept by ``Redacted``, encrypted in dumps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.web_world import web_world

from tidegate.config.schema.kms import KmsKeys

SECRET = "swordfish-in-the-clear"
KMS = {"secrets": {"master_key": "5e" * 32}}
REDACTED = {"status": "Redacted", "payload": "", "key": "", "additional_data": "", "mode": 0}


def s3(**more: Any) -> dict[str, Any]:
    secret = {"status": "Plain", "payload": SECRET}
    return {"provider": 1, "s3config": {"bucket": "b", "access_key": "AK", "access_secret": secret, **more}}


async def test_a_secret_is_written_and_never_shown(tmp_path: Path) -> None:
    async with web_world(tmp_path, kms=KMS) as world:
        client, texts = world.client, []
        changed = world.user("anna", filesystem=s3(region="r", access_secret=REDACTED))
        for answer in (
            await client.post("/api/v2/users", json=world.user("anna", filesystem=s3())),
            await client.put("/api/v2/users/anna", json=changed),
            await client.get("/api/v2/users/anna"),
            await client.get("/api/v2/users"),
            await client.get("/api/v2/dumpdata?output-data=1"),
        ):
            assert answer.status_code in (200, 201), answer.text
            texts.append(answer.text)
        assert not [text for text in texts if SECRET in text]
        dumped = json.loads(texts[-1])["users"][0]["filesystem"]["s3config"]
        assert (dumped["region"], dumped["access_secret"]["status"]) == ("r", "AES-256-GCM-Envelope")
        assert "Envelope" not in "".join(texts[:-1])
        # A dump's secret is no use in a document, and no error repeats it.
        for secret in (dumped["access_secret"], REDACTED):
            document = world.user("eve", filesystem=s3(access_secret=secret))
            answer = await client.post("/api/v2/users", json=document)
            assert answer.status_code == 400
            assert "filesystem.s3config.access_secret" in answer.text
            assert dumped["access_secret"]["payload"] not in answer.text
        loaded = await client.post("/api/v2/loaddata", json=json.loads(texts[-1]))
        assert loaded.status_code == 200, loaded.text


async def test_another_key_waits_for_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with web_world(tmp_path, kms=KMS) as world:
        answer = await world.client.post("/api/v2/users", json=world.user("anna", filesystem=s3()))
        assert answer.status_code == 201, answer.text
        app = world.app
        other = KmsKeys.model_validate(
            {"secrets": {"master_key_command": ["sh", "-c", f"touch {tmp_path}/ran"]}}
        )
        await app.reload(replace(app.loaded, settings=app.loaded.settings.model_copy(update={"kms": other})))
        assert "kms.secrets changed; restart the server to apply that" in caplog.text
        changed = world.user("anna", filesystem=s3(region="r", access_secret=REDACTED))
        answer = await world.client.put("/api/v2/users/anna", json=changed)
        assert answer.status_code == 200, answer.text
        assert not (tmp_path / "ran").exists()
        await app.reload(replace(app.loaded, settings=app.loaded.settings.model_copy(update={"kms": other})))
        assert caplog.text.count("kms.secrets changed") == 2
