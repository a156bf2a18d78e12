# SPDX-License-Identifier: Apache-2.0
"""The gate: every permission against every intent, and what else it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.gates import gate, path

from tidegate.errors import Denied, InvalidPath, NotFound
from tidegate.model import FilePatterns, Intent, Permission, VPath
from tidegate.policy.requirements import REQUIREMENTS

NAMES = [p.value for p in Permission if p is not Permission.ANY]
TWO_PATHS = {Intent.RENAME_FILE, Intent.RENAME_DIR, Intent.SYMLINK, Intent.HARDLINK, Intent.COPY}

# Intent, then every smallest set of permissions that is enough. Written by hand from the documented rules,
# not derived from the code.
ENOUGH: dict[Intent, list[set[str]]] = {
    Intent.LIST: [{"list"}],
    Intent.STAT: [{"list"}],
    Intent.READLINK: [{"list"}],
    Intent.DOWNLOAD: [{"download"}],
    Intent.CHECKSUM: [{"list"}],
    Intent.UPLOAD: [{"upload"}],
    Intent.OVERWRITE: [{"overwrite"}],
    Intent.DELETE_FILE: [{"delete"}, {"delete_files"}],
    Intent.DELETE_DIR: [{"delete"}, {"delete_dirs"}],
    Intent.RENAME_FILE: [{"rename"}, {"rename_files"}],
    Intent.RENAME_DIR: [{"rename"}, {"rename_dirs"}],
    Intent.MKDIR: [{"create_dirs"}],
    Intent.SYMLINK: [{"create_symlinks"}],
    Intent.HARDLINK: [{"create_symlinks"}],
    Intent.CHMOD: [{"chmod"}],
    Intent.CHOWN: [{"chown"}],
    Intent.CHTIMES: [{"chtimes"}],
    Intent.LOCK: [{"upload"}, {"overwrite"}],
    Intent.PROPERTIES: [{"chtimes"}, {"overwrite"}],
    Intent.COPY: [{"copy", "download", "upload"}],
    Intent.SPACE: [{"list"}, {"upload"}],
}


def subject(intent: Intent) -> VPath:
    return path("/d") if intent in (Intent.LIST, Intent.SPACE) else path("/d/f")


def second(intent: Intent) -> VPath | None:
    return path("/d/g") if intent in TWO_PATHS else None


def enough(intent: Intent, names: set[str]) -> bool:
    return "*" in names or any(alternative <= names for alternative in ENOUGH[intent])


def test_table_and_requirements_are_total() -> None:
    assert set(ENOUGH) == set(Intent) == set(REQUIREMENTS)
    assert {i for i in Intent if REQUIREMENTS[i].target is not None} == TWO_PATHS


@pytest.mark.parametrize("intent", Intent)
@pytest.mark.parametrize("name", ["*", *NAMES])
def test_each_permission_alone(intent: Intent, name: str) -> None:
    decision = gate({"/": [], "/d": [name]}).decide(intent, subject(intent), target=second(intent))
    assert decision.allowed is enough(intent, {name})
    if not decision.allowed:
        assert decision.rule == "permissions[/d]"
        assert decision.text.startswith("permission: ")
        assert decision.text.endswith(" on /d")
        assert not decision.hidden


@pytest.mark.parametrize("intent", Intent)
@pytest.mark.parametrize("name", NAMES)
def test_each_permission_missing(intent: Intent, name: str) -> None:
    names = set(NAMES) - {name}
    # The finer names say what the coarse one does, so the coarse one is not missing while they are there.
    decision = gate({"/": [], "/d": sorted(names)}).decide(intent, subject(intent), target=second(intent))
    assert decision.allowed is enough(intent, names)


@pytest.mark.parametrize("intent", Intent)
def test_exact_alternatives(intent: Intent) -> None:
    for names in ENOUGH[intent]:
        made = gate({"/": [], "/d": sorted(names)})
        assert made.decide(intent, subject(intent), target=second(intent)).allowed
        for name in names:
            left = gate({"/": [], "/d": sorted(names - {name})})
            assert not left.decide(intent, subject(intent), target=second(intent)).allowed


@pytest.mark.parametrize("intent", Intent)
def test_everything_denied_without_permissions(intent: Intent) -> None:
    for permissions in ({}, {"/": []}, {"/other": ["*"]}, {"/": ["List", "UPLOAD", "all", ""]}):
        decision = gate(permissions).decide(intent, subject(intent), target=second(intent))
        assert not decision.allowed
        with pytest.raises(Denied) as caught:
            decision.require()
        assert caught.value.rule == decision.rule
        assert caught.value.rule.startswith("permissions")


def test_texts_and_rules() -> None:
    made = gate({"/": ["list"], "/in": ["upload"]})
    decision = made.decide(Intent.UPLOAD, path("/out/a"))
    assert (decision.rule, decision.text) == ("permissions[/]", "permission: upload on /out")
    decision = made.decide(Intent.DOWNLOAD, path("/in/sub/a"))
    assert (decision.rule, decision.text) == ("permissions[/in]", "permission: download on /in/sub")
    assert gate({}).decide(Intent.STAT, path("/a")).rule == "permissions"


@pytest.mark.parametrize(
    ("intent", "judged_on"),
    [
        (Intent.LIST, "/a/b"),
        (Intent.SPACE, "/a/b"),
        *[(i, "/a") for i in Intent if i not in (Intent.LIST, Intent.SPACE)],
    ],
)
def test_which_directory_is_judged(intent: Intent, judged_on: str) -> None:
    other = "/a" if judged_on == "/a/b" else "/a/b"
    # Renaming a directory also looks inside it, so its own entry has to allow renaming.
    inside = ["rename"] if intent is Intent.RENAME_DIR else []
    inside = ["*"] if intent in (Intent.SYMLINK, Intent.HARDLINK) else inside
    yes = gate({"/": [], judged_on: ["*"], other: inside})
    no = gate({"/": [], judged_on: [], other: ["*"]})
    target = path("/a/c") if intent in TWO_PATHS else None
    assert yes.decide(intent, path("/a/b"), target=target).allowed
    assert not no.decide(intent, path("/a/b"), target=target).allowed


@pytest.mark.parametrize("intent", sorted(TWO_PATHS))
def test_both_parents_count(intent: Intent) -> None:
    both = gate({"/": [], "/a": ["*"], "/b": ["*"]})
    assert both.decide(intent, path("/a/x"), target=path("/b/x")).allowed
    for one, rule in (({"/": [], "/a": ["*"]}, "permissions[/]"), ({"/": [], "/b": ["*"]}, "permissions[/]")):
        decision = gate(one).decide(intent, path("/a/x"), target=path("/b/x"))
        assert not decision.allowed
        assert decision.rule == rule


@pytest.mark.parametrize("intent", sorted(TWO_PATHS))
def test_second_path_is_demanded(intent: Intent) -> None:
    decision = gate().decide(intent, path("/a"))
    assert (decision.allowed, decision.rule) == (False, "target")


@pytest.mark.parametrize("intent", [Intent.RENAME_FILE, Intent.RENAME_DIR])
def test_rename_over_something_needs_overwrite(intent: Intent) -> None:
    made = gate({"/": ["rename"], "/over": ["rename", "overwrite"]})
    assert made.decide(intent, path("/a"), target=path("/b")).allowed
    decision = made.decide(intent, path("/a"), target=path("/b"), target_exists=True)
    assert (decision.allowed, decision.text) == (False, "permission: overwrite on /")
    assert made.decide(intent, path("/a"), target=path("/over/b"), target_exists=True).allowed


def test_copy_writes_by_kind_of_target() -> None:
    def made(*names: str) -> bool:
        return (
            gate({"/": ["copy", "download"], "/t": ["copy", *names]})
            .decide(Intent.COPY, path("/a"), target=path("/t/a"), is_dir=is_dir, target_exists=exists)
            .allowed
        )

    is_dir, exists = False, False
    assert made("upload")
    assert not made("overwrite", "create_dirs")
    exists = True
    assert made("overwrite")
    assert not made("upload")
    is_dir = True
    assert made("create_dirs")
    assert not made("upload", "overwrite")


def test_exists_turns_upload_and_overwrite() -> None:
    up, over = gate({"/": ["upload"]}), gate({"/": ["overwrite"]})
    for intent in (Intent.UPLOAD, Intent.OVERWRITE):
        assert up.decide(intent, path("/a"), exists=False).allowed
        assert not up.decide(intent, path("/a"), exists=True).allowed
        assert over.decide(intent, path("/a"), exists=True).allowed
        assert not over.decide(intent, path("/a"), exists=False).allowed


@pytest.mark.parametrize(
    "intent", [Intent.DELETE_FILE, Intent.DELETE_DIR, *sorted(TWO_PATHS)], ids=lambda i: i.value
)
def test_root_is_no_subject(intent: Intent) -> None:
    target = path("/a") if intent in TWO_PATHS else None
    decision = gate().decide(intent, path("/"), target=target)
    assert (decision.allowed, decision.rule, decision.hidden) == (False, "root", False)
    if intent in TWO_PATHS:
        assert gate().decide(intent, path("/a"), target=path("/")).rule == "root"


@pytest.mark.parametrize("intent", [Intent.LIST, Intent.STAT, Intent.CHMOD, Intent.CHTIMES, Intent.SPACE])
def test_root_is_judged_on_itself(intent: Intent) -> None:
    assert gate().decide(intent, path("/")).allowed
    assert not gate({"/": [], "/a": ["*"]}).decide(intent, path("/")).allowed


@pytest.mark.parametrize("key", ["/a/secret", "/a", "/a/*", "/b/deep", "/*/secret"])
def test_rename_of_a_directory_with_rules_inside(key: str) -> None:
    """Moving /a to /b may not move what is below /a out of its own entry, nor below that of /b."""
    closed = gate({"/": ["*"], key: ["list"]})
    decision = closed.decide(Intent.RENAME_DIR, path("/a"), target=path("/b"))
    assert (decision.allowed, decision.rule) == (False, f"permissions[{key}]")
    assert (
        gate({"/": ["*"], key: ["rename"]}).decide(Intent.RENAME_DIR, path("/a"), target=path("/b")).allowed
    )
    half = gate({"/": ["*"], key: ["rename_dirs"]})
    assert not half.decide(Intent.RENAME_DIR, path("/a"), target=path("/b")).allowed
    aside = closed.decide(Intent.RENAME_DIR, path("/c"), target=path("/d"))
    assert aside.allowed is not key.startswith("/*")  # /*/secret could lie in any directory


@pytest.mark.parametrize(
    ("source", "target", "allowed"),
    [
        ("/in/a", "/in/b", True),
        ("/in/a", "/a", False),
        ("/a", "/in/a", False),
        ("/in", "/x", False),
        ("/a", "/b", True),
    ],
)
def test_rename_of_a_directory_across_patterns(source: str, target: str, allowed: bool) -> None:
    made = gate(patterns=[FilePatterns(path="/in", denied_patterns=("*.exe",))])
    decision = made.decide(Intent.RENAME_DIR, path(source), target=path(target))
    assert decision.allowed is allowed
    assert allowed or decision.rule == "file_patterns[/in]"


@pytest.mark.parametrize("intent", [Intent.SYMLINK, Intent.HARDLINK])
def test_link_gives_no_more_than_what_it_points_to(intent: Intent) -> None:
    made = gate({"/": ["*"], "/box": ["create_symlinks", "upload"], "/d/ro": ["list", "create_symlinks"]})
    for source in ("/box/secret", "/box", "/d", "/d/ro"):
        decision = made.decide(intent, path(source), target=path("/link"))
        assert (decision.allowed, decision.rule) == (False, "links"), source
    assert made.decide(intent, path("/x"), target=path("/link")).allowed
    assert made.decide(intent, path("/x"), target=path("/box/link")).allowed
    assert made.decide(intent, path("/box/x"), target=path("/box/link")).allowed
    listed = sorted(set(NAMES))
    assert gate({"/": ["*"], "/all": listed}).decide(intent, path("/all/x"), target=path("/y")).allowed


@pytest.mark.parametrize("intent", [Intent.SYMLINK, Intent.HARDLINK])
def test_link_does_not_get_round_patterns(intent: Intent) -> None:
    made = gate(patterns=[FilePatterns(path="/in", denied_patterns=("*.exe",))])
    assert made.decide(intent, path("/in/x"), target=path("/l")).rule == "links"
    assert made.decide(intent, path("/in"), target=path("/l")).rule == "links"
    assert made.decide(intent, path("/in/x.exe"), target=path("/in/l")).rule == "file_patterns[/in]"
    assert made.decide(intent, path("/in/x"), target=path("/in/l.exe")).rule == "file_patterns[/in]"
    assert made.decide(intent, path("/in/x"), target=path("/in/l")).allowed


# What patterns see of each intent, by hand: the kind it implies (None: as the caller found it), and whether a
# name that is denied, or hidden, or that no allowed pattern names, is refused on `path`.
DIRECTORIES = {Intent.LIST, Intent.DELETE_DIR, Intent.RENAME_DIR, Intent.MKDIR}
EITHER = {
    Intent.STAT,
    Intent.SYMLINK,
    Intent.CHMOD,
    Intent.CHOWN,
    Intent.CHTIMES,
    Intent.COPY,
    Intent.SPACE,
    Intent.LOCK,
    Intent.PROPERTIES,
}
LOOKS = {Intent.LIST, Intent.STAT, Intent.READLINK, Intent.SPACE}
CREATES = {Intent.UPLOAD, Intent.OVERWRITE, Intent.MKDIR}
UPLOADABLE = FilePatterns(path="/", allowed_patterns=("*.csv", "*.ok"), deny_policy=0)


@pytest.mark.parametrize("intent", Intent)
@pytest.mark.parametrize("found", [True, False])
def test_the_kind_that_an_intent_implies(intent: Intent, found: bool) -> None:
    """Allowed patterns speak of files: a directory of another name passes."""
    is_dir = intent in DIRECTORIES or (intent in EITHER and found)
    target = path("/t.csv") if intent in TWO_PATHS else None
    made = gate(patterns=[UPLOADABLE])
    decision = made.decide(intent, path("/plain"), target=target, is_dir=found)
    assert decision.allowed is (is_dir or intent in LOOKS)
    # The same is asked of the name that comes into being; links and renamed trees have other rules too.
    if target is not None:
        decision = made.decide(intent, path("/s.csv"), target=path("/plain"), is_dir=found)
        assert decision.allowed is is_dir


@pytest.mark.parametrize("intent", Intent)
def test_how_patterns_look_at_each_intent(intent: Intent) -> None:
    is_dir = intent in DIRECTORIES
    target = path("/t") if intent in TWO_PATHS else None
    denied = gate(patterns=[FilePatterns(path="/", denied_patterns=("*.key",))])
    hidden = gate(patterns=[FilePatterns(path="/", denied_patterns=("*.key",), deny_policy=1)])
    decision = denied.decide(intent, path("/a.key"), target=target, is_dir=is_dir)
    assert (decision.allowed, decision.hidden) == (intent in LOOKS, False)
    decision = hidden.decide(intent, path("/a.key"), target=target, is_dir=is_dir)
    assert (decision.allowed, decision.hidden) == (False, intent not in CREATES)
    # A preset speaks of what is brought in only: of the target, where there are two names.
    preset = gate(patterns=[FilePatterns(path="/", preset="openbridge")])
    assert preset.decide(intent, path("/.x"), target=target).allowed is (intent not in CREATES)
    if target is not None:
        decision = preset.decide(intent, path("/x"), target=path("/.x"))
        assert (decision.allowed, decision.hidden) == (False, False)
        decision = hidden.decide(intent, path("/x"), target=path("/a.key"), is_dir=is_dir)
        assert (decision.allowed, decision.hidden) == (False, False)


@pytest.mark.parametrize("intent", Intent)
def test_overwrite_is_asked_for_only_where_something_is_replaced(intent: Intent) -> None:
    """A link never replaces: what has the name already refuses it, whoever asks."""
    target = path("/g") if intent in TWO_PATHS else None
    without = gate({"/": sorted(set(NAMES) - {"overwrite"})})
    decision = without.decide(intent, path("/f"), target=target, target_exists=True)
    replaces = {Intent.OVERWRITE, Intent.RENAME_FILE, Intent.RENAME_DIR, Intent.COPY}
    assert decision.allowed is (intent not in replaces)


def test_trace_names_place_and_remedy() -> None:
    steps = gate({"/in/": ["list", "download"]}).trace(Intent.UPLOAD, path("/in/sub/a"))
    assert len(steps) == 1
    step = steps[0]
    assert (step.rule, step.verdict, step.where) == ("permissions[/in]", "deny", "permissions./in/")
    assert step.why == "/in (nearest entry for /in/sub) grants list, download; upload is not among them"
    assert "upload" in step.hint
    assert "permissions./in/" in step.hint


def test_hidden_is_not_found_and_says_nothing() -> None:
    made = gate(patterns=[FilePatterns(path="/", denied_patterns=("*.key",), deny_policy=1)])
    with pytest.raises(NotFound) as caught:
        made.decide(Intent.DOWNLOAD, path("/my.key")).require()
    assert caught.value.text == NotFound.default_text


# --- properties ---------------------------------------------------------------------------------------

PARTS = st.sampled_from(["a", "b", "in", "x.exe", ".ssh", "k*", "[", "ä", "\udcff", "\n", "A.EXE", "a b"])
PATHS = st.lists(PARTS, max_size=5).map(lambda parts: path("/" + "/".join(parts)))
KEYS = st.one_of(
    PATHS.map(str),
    st.sampled_from(["/", "in", "/in/", "/*", "/*/b", "/[a-b]", "/a?", "/\0", "/in/../a", "*"]),
)
GRANTED = st.lists(st.sampled_from(["*", *NAMES, "nonsense"]), max_size=6)
GLOBS = st.lists(
    st.sampled_from(["*", "*.exe", "*.EXE", "?", "[a-b]", "[!a]", "in", ".*", "*ä*", "[", "\\"]), max_size=3
)
ENTRIES = st.builds(
    FilePatterns,
    path=KEYS,
    allowed_patterns=GLOBS.map(tuple),
    denied_patterns=GLOBS.map(tuple),
    deny_policy=st.sampled_from([0, 1]),
    preset=st.sampled_from(["", "openbridge", "unknown"]),
)


@settings(max_examples=300, deadline=None)
@given(
    permissions=st.dictionaries(KEYS, GRANTED, max_size=4),
    entries=st.lists(ENTRIES, max_size=3),
    intent=st.sampled_from(Intent),
    subject=PATHS,
    target=st.none() | PATHS,
    is_dir=st.booleans(),
    exists=st.none() | st.booleans(),
    target_exists=st.booleans(),
)
def test_decide_is_the_last_of_trace(
    *,
    permissions: dict[str, list[str]],
    entries: list[FilePatterns],
    intent: Intent,
    subject: VPath,
    target: VPath | None,
    is_dir: bool,
    exists: bool | None,
    target_exists: bool,
) -> None:
    made = gate(permissions, entries)
    more = {"target": target, "is_dir": is_dir, "exists": exists, "target_exists": target_exists}
    decision = made.decide(intent, subject, **more)
    steps = made.trace(intent, subject, **more)
    denials = [step for step in steps if step.verdict == "deny"]
    assert decision == made.decide(intent, subject, **more)
    assert steps
    assert bool(denials) is not decision.allowed
    if denials:
        assert denials == steps[-1:]
        assert denials[0].rule == decision.rule
        assert denials[0].why
        assert denials[0].hint
        assert decision.text
    else:
        assert (decision.rule, decision.text, decision.hidden) == ("", "", False)


@settings(max_examples=300, deadline=None)
@given(raw=st.text(max_size=60) | st.binary(max_size=60), intent=st.sampled_from(Intent))
def test_never_raises_for_any_path(raw: str | bytes, intent: Intent) -> None:
    try:
        anything = VPath.parse(raw)
    except InvalidPath:
        return
    made = gate(
        {"/": ["list"], "/*/x": ["*"]},
        [FilePatterns(denied_patterns=("*.exe", "[a-"), deny_policy=1, preset="openbridge")],
    )
    made.decide(intent, anything, target=anything)
    made.trace(intent, anything, target=anything)
    shows = made.name_filter(anything)
    assert shows is not None
    shows(anything.name, False)


@settings(max_examples=200, deadline=None)
@given(permissions=st.dictionaries(KEYS, GRANTED, max_size=4), intent=st.sampled_from(Intent), subject=PATHS)
def test_more_permissions_at_the_deciding_entry_never_deny(
    permissions: dict[str, list[str]], intent: Intent, subject: VPath
) -> None:
    """Giving ``*`` everywhere allows everything but what the root rule refuses."""
    made = gate({key: ["*"] for key in permissions} | {"/": ["*"]})
    decision = made.decide(intent, subject, target=subject)
    assert decision.allowed or decision.rule == "root"


def test_deep_and_long_paths_are_quick_to_judge() -> None:
    made = gate({"/": ["*"], "/a/b": []}, [FilePatterns(denied_patterns=("*a*a*a*a*b",), deny_policy=1)])
    deep = path("/" + "/".join("a" * 2000))
    assert made.decide(Intent.DOWNLOAD, deep).allowed
    long_name = path("/" + "a" * 4000)
    assert made.decide(Intent.DOWNLOAD, long_name).allowed


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["/", "/d", "/d/e", "/*/e", "/other"]),
        st.sets(st.sampled_from(["*", "upload", "overwrite", "list"])).map(sorted),
    ),
    st.lists(st.sampled_from(["/f", "/d/f", "/d/e/f.txt", "/d/e/f", "/x/e/f", "/other/f", "/"]), max_size=6),
    st.booleans(),
)
def test_may_create_is_what_decide_says(
    permissions: dict[str, list[str]], paths: list[str], patterns: bool
) -> None:
    """Also of one directory after the other: the last one asked about is remembered."""
    denied = [FilePatterns(path="/d", denied_patterns=["*.txt"])] if patterns else []
    asked = gate(permissions, denied)
    for text in paths:
        fresh, at = gate(permissions, denied), path(text)
        each = tuple(fresh.decide(intent, at).allowed for intent in (Intent.UPLOAD, Intent.OVERWRITE))
        assert asked.may_create(at) == each
