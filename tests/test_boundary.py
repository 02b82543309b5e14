"""What is private is known as such by whatever name: links, other cases, mounts, shares, streams."""

from __future__ import annotations

import ntpath
import os
import posixpath
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sonic_ext.errors import BadSetting
from sonic_ext.provenance import boundary
from sonic_ext.provenance.boundary import Boundary, lies_below, refuse_served

LINKS = pytest.mark.skipif(os.name == "nt", reason="links need a right that few users of Windows have")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private home with a key in it, and its name in the environment."""
    made = tmp_path / "web ui" / "private"
    (made / "keys").mkdir(parents=True)
    (made / "keys" / "ledger.key").write_bytes(b"secret")
    (made / "ledger.sqlite").write_bytes(b"rows")
    monkeypatch.setenv("SONIC_HOME", str(made))
    return made


def test_the_home_and_all_below(home: Path) -> None:
    inside = boundary.private()
    for name in ("", "keys", "keys/ledger.key", "keys/../ledger.sqlite", "not there/yet", "keys//ledger.key"):
        assert inside.holds(f"{home}/{name}"), name
    for name in ("..", "../privateer", "../private2/keys", "keys/../.."):
        assert not inside.holds(f"{home}/{name}"), name
    assert not inside.holds("") and not inside.holds("\0") and not inside.holds(f"{home}\0"[-1])


def test_relative_names_and_what_is_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home.parent)
    inside = boundary.private()
    assert inside.holds("private/keys") and inside.reaches("./private/keys/ledger.key")
    assert inside.holds("private/nothing") and not inside.reaches("private/nothing")
    assert not inside.reaches("keys/ledger.key")
    monkeypatch.chdir(home)
    assert inside.reaches("keys/ledger.key") and not inside.reaches("a portrait, best quality")


@LINKS
def test_links_there_and_back(home: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(home)
    (tmp_path / "deep").symlink_to(home / "keys")
    (tmp_path / "one").symlink_to(home / "keys" / "ledger.key")
    (tmp_path / "twice").symlink_to(tmp_path / "alias")
    (home / "moved").symlink_to(tmp_path / "big disk")
    (tmp_path / "big disk").mkdir()
    (tmp_path / "big disk" / "master.mp4").write_bytes(b"film")
    inside = boundary.private()
    for name in ("alias/keys", "deep/ledger.key", "one", "twice/x", "alias/keys/../ledger.sqlite"):
        assert inside.holds(tmp_path / name), name
    assert inside.holds(f"{tmp_path}/deep/../ledger.sqlite")  # where the link leads, not as it is written
    assert inside.holds(tmp_path / "big disk" / "master.mp4")
    assert not inside.holds(tmp_path / "web ui")


@LINKS
def test_a_home_that_is_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "named").symlink_to(tmp_path / "real")
    monkeypatch.setenv("SONIC_HOME", str(tmp_path / "named"))
    inside = boundary.private()
    assert inside.holds(tmp_path / "real" / "x") and inside.holds(tmp_path / "named" / "x")


@LINKS
def test_a_hard_link_to_what_lies_directly_in_the_home(home: Path, tmp_path: Path) -> None:
    os.link(home / "ledger.sqlite", tmp_path / "copy")
    assert boundary.private().holds(tmp_path / "copy")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has these")
def test_by_way_of_proc(home: Path) -> None:
    with (home / "ledger.sqlite").open() as file:
        inside = boundary.private()
        assert inside.holds(f"/proc/self/fd/{file.fileno()}")
        assert inside.holds(f"/proc/self/root{home}/ledger.sqlite")


def test_another_case_where_the_system_tells_none_apart(home: Path) -> None:
    other = home.with_name("PRIVATE")
    assert boundary.private().holds(other / "keys") is other.exists()


def test_a_key_of_the_users_own(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "mine.pem"
    key.write_text("key")
    assert not boundary.private().holds(key)
    monkeypatch.setenv("SONIC_C2PA_KEY", str(key))
    assert boundary.private().holds(key)


PARTS = st.lists(st.sampled_from(["a", "B", "..", ".", "c d", "é"]), max_size=6)


@given(PARTS, PARTS)
@settings(max_examples=200, deadline=None)
def test_as_written_it_is_what_the_library_says(path: list[str], place: list[str]) -> None:
    for system, root in ((posixpath, "/"), (ntpath, "C:\\")):
        one, other = system.join(root, *path), system.join(root, *place)
        common = system.commonpath([system.normcase(system.normpath(each)) for each in (one, other)])
        inside = common == system.normcase(system.normpath(other))
        assert lies_below(one, other, system) is inside


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (r"\\?\C:\Users\me", r"C:\Users\me"),
        ("//?/C:/Users/me", r"C:\Users\me"),
        (r"\\?\UNC\box\c$\x", r"\\box\c$\x"),
        (r"C:\home\key.pem::$DATA", r"C:\home\key.pem"),
        (r"C:\home::$INDEX_ALLOCATION\key.pem", r"C:\home\key.pem"),
        (r"C:\plain", r"C:\plain"),
    ],
)
def test_spellings_of_windows(text: str, plain: str) -> None:
    assert boundary.plain_windows_path(text) == plain


HOME = r"C:\Users\me\AppData\Local\sonic-ext"


@pytest.mark.parametrize(
    ("text", "foreign", "named"),
    [
        (r"\\box\c$\Users\me\AppData\Local\sonic-ext\keys", True, True),
        (r"//localhost/Users/me/AppData/LOCAL/Sonic-Ext", True, True),
        (r"\\?\Volume{b75e2c83}\Users\me\AppData\Local\sonic-ext\takes", True, True),
        (r"\\nas\pictures\one.png", True, False),
        (rf"{HOME}\keys", False, True),
        (r"one.png", False, False),
    ],
)
def test_shares_of_windows_are_known_without_asking_them(text: str, foreign: bool, named: bool) -> None:
    assert boundary.on_a_foreign_share(text, [HOME]) is foreign
    assert boundary.named_on_share(text, HOME) is named
    on_share = r"\\nas\pictures"
    assert not boundary.on_a_foreign_share(r"\\NAS\Pictures\one.png", [HOME, rf"{on_share}\home"])


def test_a_home_that_is_served_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "webui" / "outputs" / "sonic"
    with pytest.raises(BadSetting, match="hands out"):
        refuse_served(home, [tmp_path / "other", tmp_path / "webui"])
    with pytest.raises(BadSetting, match="hands out"):
        refuse_served(home, [home / "takes"])
    refuse_served(home, [tmp_path / "web", tmp_path / "webui" / "outputs" / "sonic2"])


@LINKS
def test_a_served_folder_that_holds_a_link_to_the_home(tmp_path: Path) -> None:
    home, served = tmp_path / "home", tmp_path / "served"
    home.mkdir()
    served.mkdir()
    refuse_served(home, [served])
    (served / "alias").symlink_to(tmp_path)
    with pytest.raises(BadSetting, match="hands out"):
        refuse_served(home, [served])


def test_around_what_is_not_there(tmp_path: Path) -> None:
    inside = Boundary.around([tmp_path / "later"])
    assert inside.holds(tmp_path / "later" / "x") and not inside.holds(tmp_path)
