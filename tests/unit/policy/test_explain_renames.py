# SPDX-License-Identifier: Apache-2.0
"""Explain and the server agree about renames, over mounts too."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.vfs_world import p, put, vfs_world

from tidegate import errors as e
from tidegate.policy.explain import explain

FILES = ["/f", "/d/f", "/v/f", "/way/w/f", "/d/e/f"]
DIRECTORIES = ["/d", "/d/e", "/v", "/v/d", "/way", "/way/w"]
NEW = ["/n", "/d/n", "/d/e/n", "/v/n", "/v/d/n", "/way/n", "/way/w/n"]
RULES = [
    ("*",),
    ("list", "rename"),
    ("list", "rename_files"),
    ("list", "rename_dirs", "overwrite"),
    ("list",),
]
RIGHTS = st.fixed_dictionaries(
    {"/": st.sampled_from(RULES)},
    optional={place: st.sampled_from(RULES) for place in ("/d", "/v", "/d/e", "/way")},
)


@given(
    permissions=RIGHTS,
    source=st.sampled_from(FILES + DIRECTORIES),
    target=st.sampled_from(NEW + FILES + DIRECTORIES),
    rename_onto=st.sampled_from(["", "refuse", "replace"]),
    posix=st.booleans(),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_they_agree(
    tmp_path_factory, permissions, source: str, target: str, rename_onto: str, *, posix: bool
) -> None:
    async with vfs_world(tmp_path_factory.mktemp("agree")) as world:
        mounts = (world.mount("v", "/v"), world.mount("w", "/way/w"))
        world.account(virtual_folders=mounts)
        everything = await world.login()
        for directory in ("/d", "/d/e", "/v/d"):
            await everything.mkdir(p(directory))
        for file in FILES:
            await put(everything, file, b"x")
        account = world.account(
            "alice",
            permissions=permissions,
            virtual_folders=mounts,
            filters={"rename_onto": rename_onto},
        )
        session = await world.login(account)
        is_dir = source in DIRECTORIES
        exists = target in FILES + DIRECTORIES
        answer = explain(
            account,
            ip="192.0.2.7",
            protocol="SFTP",
            op="posix-rename" if posix else "rename",
            path=source,
            target=target,
            is_dir=is_dir,
            target_exists=exists,
            now_ms=0,
        )
        try:
            await session.rename(p(source), p(target), replace=posix)
        except (e.IsADirectory, e.NotADirectory, e.DirectoryNotEmpty):
            return  # about what is there, which explain does not look at
        except e.TidegateError as error:
            refusal = error.text
        else:
            refusal = ""
        assert answer.decision.allowed == (not refusal), (refusal, source, target, answer.render_text())
