"""A folder above or inside pict-rs's ``files`` is told from it by what lies there, and by nothing less."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.pictrs.keys import is_key
from lemmy_safety.pictrs.layout import TELLING_FOLDERS, misplaced, too_wide

V7 = "01/a1/96/fb/16/00/7a/bc/9d/ef/0123456789ab"
UUID = "6b2b1a5e-0c4f-4d3a-9a57-0f5d2c1b7e61"
OLDER = [f"000/{UUID}", f"001/042/{UUID}", f"002/000/999/{UUID}.webp"]
FILES = "/srv/lemmy/volumes/pictrs/files"


def asked(keys):
    """What a storage with these keys answers."""
    return lambda prefix: [key for key in keys if key.startswith(prefix)]


def folders_of(keys):
    """Those of the telling folders that lie above these keys."""
    return [folder for folder in TELLING_FOLDERS if any(key.startswith(f"{folder}/") for key in keys)]


def meant(root, keys):
    found = misplaced(root, folders_of(keys), asked(keys))
    return None if found is None else found.meant


@pytest.mark.parametrize("key", [V7, f"{V7}.webp", *OLDER])
def test_keys_of_each_scheme_are_known(key) -> None:
    """And only whole ones: with a folder more or less they are none."""
    assert is_key(key)
    assert not is_key(f"files/{key}")
    assert not is_key(key.split("/", 1)[1])


@pytest.mark.parametrize(
    "key", [f"001/{UUID}", f"0001/000/{UUID}", f"000/{UUID}/x", "000/picture.png", "2024/01/a.jpg"]
)
def test_near_misses_are_no_keys(key) -> None:
    """A store of 0.4 to 0.5.6 counts its levels in the first folder."""
    assert not is_key(key)


@pytest.mark.parametrize("repository", ["sled-repo", "fjall-repo"])
@pytest.mark.parametrize("down", ["", "pictrs/", "volumes/pictrs/"])
def test_the_folder_of_pictrs_database_is_never_the_one_that_is_meant(down, repository) -> None:
    """With or without pictures beside it, up to the folder of lemmy-ansible."""
    database, picture = f"{down}{repository}/v0.5.0/db", f"{down}files/{V7}"
    assert meant("/x", [database, picture]) == f"/x/{down}files"
    found = misplaced("/x", folders_of([database]), asked([database]))
    assert found is not None
    assert found.meant is None
    assert f"{down}{repository}" in found.why


@pytest.mark.parametrize("key", [V7, *OLDER])
@pytest.mark.parametrize("down", ["", "pictrs/", "volumes/pictrs/"])
def test_without_a_database_the_keys_tell(down, key) -> None:
    """Where pict-rs has its database in PostgreSQL."""
    assert meant("/x", ["readme.txt", f"{down}files/{key}"]) == f"/x/{down}files"


@pytest.mark.parametrize(
    "keys",
    [
        [V7],
        OLDER,
        [V7, f"files/{V7}"],
        [*OLDER, f"files/{OLDER[0]}"],
        ["files/picture.png", "files/01/picture.png"],
        ["a.png"],
        [],
    ],
    ids=["new keys", "older keys", "a copy in a store", "a copy in an older store", "any pictures", "flat", "empty"],
)
@pytest.mark.parametrize("root", [FILES, "/", "/home/me/01", "/home/me/2024/123"])
def test_other_folders_are_left_alone(root, keys) -> None:
    """Any folder of pictures works, whatever it and its folders are called."""
    assert misplaced(root, folders_of(keys), asked(keys)) is None


@given(st.integers(1, 10), st.sampled_from(["", ".webp"]))
def test_a_folder_inside_the_store_is_told_by_the_rest_of_its_keys(count, extension) -> None:
    """At each depth of a time-ordered key."""
    parts = f"{V7}{extension}".split("/")
    assert meant("/".join([FILES, *parts[:count]]), ["/".join(parts[count:])]) == FILES


@pytest.mark.parametrize("key", OLDER)
def test_a_folder_inside_an_older_store_is_told_too(key) -> None:
    """At each depth of a key with a counter."""
    parts = key.split("/")
    for count in range(1, len(parts)):
        assert meant("/".join([FILES, *parts[:count]]), ["/".join(parts[count:])]) == FILES


@pytest.mark.parametrize(
    "root",
    ["/", "/etc", "/home", "/usr", "/var", "/dev", "/proc", "/proc/1/root", "/sys/kernel", "/home/me", "C:/", "/D:"],
)
def test_folders_of_the_system_and_homes_are_no_stores(root) -> None:
    """A pass would read, and could delete, what belongs to others."""
    assert too_wide(root, "/home/me") is not None


@pytest.mark.parametrize(
    "root",
    [
        "/files",
        "/mnt",
        "/home/me/files",
        "/home/pictrs",
        "/var/lib/pictrs/files",
        "/run/media/disk/files",
        "C:/files",
        "/processed",
    ],
)
def test_folders_in_them_can_be_stores(root) -> None:
    """Wherever an admin puts one."""
    assert too_wide(root, "/home/me") is None
