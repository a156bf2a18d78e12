# SPDX-License-Identifier: Apache-2.0
"""Homes and folders in S3 in the running product, by real clients; credentials of the record and of the host."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from tests.support.fault_proxy import Refuse, fault_proxy
from tests.support.object_servers import ObjectServer
from tests.support.programs import digest, git, random_file, sftp
from tests.support.running import Running, running, wait_for

from tidegate.model import FolderMount, StorageConfig

MIB = 1 << 20
MISTAKES = {
    "there is no bucket 'no-such-bucket'": {"bucket": "no-such-bucket"},
    "the secret does not belong to the access key": {"access_secret": "wrong-secret"},
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, seaweedfs_server: ObjectServer) -> Iterator[Running]:
    environment = {
        "AWS_ACCESS_KEY_ID": seaweedfs_server.access_key,
        "AWS_SECRET_ACCESS_KEY": seaweedfs_server.access_secret,
        "AWS_EC2_METADATA_DISABLED": "true",
        "TIDEGATE_STORAGE__OBJECTS__MEMORY": "64",
        "TIDEGATE_STORAGE__OBJECTS__MEMORY_WAIT": "4",
    }
    with running(tmp_path_factory.mktemp("s3") / "config", environment=environment) as made:
        made.secrets.add(seaweedfs_server.access_secret)
        made.secrets.add("wrong-secret")
        yield made


def s3(server: ObjectServer, bucket: str, **more: object) -> StorageConfig:
    return StorageConfig("s3", {"s3config": server.options(bucket, **more)})


@pytest.mark.needs("sftp")
def test_home_in_a_bucket(server: Running, seaweedfs_server: ObjectServer, tmp_path: Path) -> None:
    bucket = seaweedfs_server.bucket()
    person = server.account(filesystem=s3(seaweedfs_server, bucket, key_prefix="users/anna"))
    sent = random_file(tmp_path / "big", 12 * MIB + 5)
    (tmp_path / "small").write_bytes(b"small")
    sftp(
        person, "mkdir d", "put big d/big", "put small", "rename small d/little", "ls -l d", "get d/big back",
        cwd=tmp_path,
    ).ok()  # fmt: skip
    assert digest(tmp_path / "back") == sent
    admin = seaweedfs_server.admin
    assert admin.get_object(Bucket=bucket, Key="users/anna/d/little")["Body"].read() == b"small"
    assert admin.head_object(Bucket=bucket, Key="users/anna/d/big")["ContentLength"] == 12 * MIB + 5
    assert list(person.home.iterdir()) == []


@pytest.mark.needs("sftp", "git")
def test_a_repository_in_a_bucket(server: Running, seaweedfs_server: ObjectServer, tmp_path: Path) -> None:
    bucket = seaweedfs_server.bucket()
    person = server.account(filesystem=s3(seaweedfs_server, bucket))
    work = tmp_path / "work"
    git("init", "-q", "--bare", "-b", "main", tmp_path / "x.git").ok()
    sftp(person, "put -r x.git", cwd=tmp_path).ok()
    git("init", "-q", "-b", "main", work).ok()
    sent = random_file(work / "big", 2 * MIB)
    git("add", ".", cwd=work).ok()
    git("commit", "-q", "-m", "one", cwd=work).ok()
    git("push", "-q", ":/x.git", "main", person=person, cwd=work).ok()
    git("clone", "-q", ":/x.git", tmp_path / "clone", person=person).ok()
    assert digest(tmp_path / "clone" / "big") == sent
    git("push", "-q", ":/x.git", "main:deep/er", person=person, cwd=work).ok()
    git("push", "-q", ":/x.git", ":deep/er", person=person, cwd=work).ok()
    assert b"deep" not in git("ls-remote", ":/x.git", person=person).ok().out


@pytest.mark.needs("sftp")
def test_two_homes_and_a_folder_in_one_bucket(
    server: Running, seaweedfs_server: ObjectServer, tmp_path: Path
) -> None:
    bucket = seaweedfs_server.bucket()
    shared = FolderMount(
        name=f"shared-{bucket}",
        virtual_path="/shared",
        mapped_path=str(tmp_path / "unused"),
        filesystem=s3(seaweedfs_server, bucket, key_prefix="team/"),
    )
    people = [
        server.account(
            filesystem=s3(seaweedfs_server, bucket, key_prefix=f"users/{name}/"), virtual_folders=(shared,)
        )
        for name in ("anna", "ben")
    ]
    (tmp_path / "note").write_bytes(b"from anna")
    sftp(people[0], "put note", "put note shared/note", "ls", cwd=tmp_path).ok()
    done = sftp(people[1], "ls -1", "get shared/note got", cwd=tmp_path).ok()
    assert b"note" not in done.out.replace(b"get shared/note got", b"").split(b"Fetching")[0]
    assert (tmp_path / "got").read_bytes() == b"from anna"


@pytest.mark.needs("sftp")
def test_credentials_of_the_host(server: Running, seaweedfs_server: ObjectServer, tmp_path: Path) -> None:
    bucket = seaweedfs_server.bucket()
    person = server.account(filesystem=s3(seaweedfs_server, bucket, access_key="", access_secret=""))
    (tmp_path / "small").write_bytes(b"small")
    sftp(person, "put small", cwd=tmp_path).ok()
    assert seaweedfs_server.admin.get_object(Bucket=bucket, Key="small")["Body"].read() == b"small"


@pytest.mark.needs("sftp")
@pytest.mark.parametrize("said", MISTAKES)
def test_mistakes_are_in_the_log_and_not_told_to_the_client(
    server: Running, seaweedfs_server: ObjectServer, said: str, tmp_path: Path
) -> None:
    bucket = seaweedfs_server.bucket()
    person = server.account(filesystem=s3(seaweedfs_server, **{"bucket": bucket, **MISTAKES[said]}))
    done = sftp(person, "get none", cwd=tmp_path)
    assert done.status != 0
    assert bucket.encode() not in done.out + done.err
    assert b"no-such-bucket" not in done.out + done.err
    line = server.wait_line("failed", username=person.name)
    assert (line["level"], line["rule"]) == ("warn", "storage")
    assert said in line["text"]


@pytest.mark.needs("sftp")
async def test_uploads_that_stop_just_below_a_part_hold_up_their_own_account_only(
    server: Running, seaweedfs_server: ObjectServer, tmp_path: Path
) -> None:
    bucket = seaweedfs_server.bucket()
    anna, ben = (
        server.account(filesystem=s3(seaweedfs_server, bucket, key_prefix=f"users/{name}/"))
        for name in ("anna", "ben")
    )
    sent = random_file(tmp_path / "big", 100 * MIB)
    said: list[str] = []

    async def stop(client: asyncssh.SFTPClient, number: int) -> None:
        file = await client.open(f"stalled{number}", "wb", encoding=None)
        try:
            for _ in range(19):
                await file.write(bytes(256 * 1024))
        except asyncssh.SFTPError as error:
            said.append(error.reason)

    async with (
        asyncssh.connect(
            "127.0.0.1",
            server.port,
            username=anna.name,
            client_keys=[str(anna.key)],
            known_hosts=None,
            config=None,
        ) as connection,
        connection.start_sftp_client() as client,
    ):
        await asyncio.gather(*(stop(client, number) for number in range(60)))
        # The share of an account is a quarter of 64 MiB: three of these fit, and one may go beyond.
        assert len(said) >= 60 - 5
        assert set(said) == {"the share of the memory for transfers is in use: try again later"}
        await asyncio.to_thread(lambda: sftp(ben, "put big", "get big back", cwd=tmp_path).ok())
    assert digest(tmp_path / "back") == sent


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (Refuse(403, "AccessDenied"), "needs the permission s3:PutObject"),
        (Refuse(404, "NoSuchBucket"), "there is no bucket"),
        (Refuse(400, "ExpiredToken"), "the credentials have expired"),
    ],
    ids=["rights lost", "bucket gone", "credentials expired"],
)
async def test_what_goes_wrong_in_the_middle_of_an_upload_is_no_success(
    server: Running, seaweedfs_server: ObjectServer, act: Refuse, said: str
) -> None:
    """The client is told, the log says why, and neither an object nor parts are left."""
    bucket = seaweedfs_server.bucket()
    admin = seaweedfs_server.admin
    with fault_proxy(seaweedfs_server.endpoint) as proxy:
        person = server.account(filesystem=s3(seaweedfs_server, bucket, endpoint=proxy.endpoint))
        async with person.connect() as client, client.start_sftp_client() as files:
            with pytest.raises(asyncssh.SFTPError) as caught:
                async with files.open("f", "wb") as file:
                    await file.write(bytes(6 * MIB))
                    await asyncio.to_thread(
                        wait_for, lambda: proxy.operations().count("UploadPart") >= 1, "no part was sent"
                    )
                    proxy.add("UploadPart", act, times=1000)
                    for _ in range(20):
                        await file.write(bytes(MIB))
            assert bucket not in caught.value.reason
            proxy.clear()
            assert await files.listdir() in ([".", ".."], [])
            assert await files.exists("f") is False
        assert admin.list_objects_v2(Bucket=bucket).get("KeyCount", 0) == 0
        assert not admin.list_multipart_uploads(Bucket=bucket).get("Uploads")
        line = await asyncio.to_thread(server.wait_line, "failed", username=person.name)
        assert said in line["text"], line
        upload = await asyncio.to_thread(server.wait_line, "Upload", username=person.name)
        assert (upload["status"], bool(upload["error"])) == ("failed", True)
