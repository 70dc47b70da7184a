"""A deletion on servers that refuse it, keep what they say they deleted, lose answers, or describe objects oddly.

The servers are imitated: each habit is reported of one that cannot be made to show it here.
"""

from __future__ import annotations

import gzip
import hashlib
import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples
from support.storage.odd_s3 import LONG_AGO, OddS3, odd_storage

from lemmy_safety.errors import AccessDenied, ObjectChanged, StorageError, StorageUnreachable
from lemmy_safety.storage.probing import probe
from lemmy_safety.storage.s3 import removal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.storage.scripted_s3 import Request

    from lemmy_safety.records import StoredObject
    from lemmy_safety.storage.s3 import S3Storage

pytestmark = pytest.mark.external_service

KEY = "01/aa/x.jpg"
DATA = b"what was judged"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "PAUSES_S", (0.0, 0.0, 0.0))


@pytest.fixture
def server() -> OddS3:
    server = OddS3()
    server.put(KEY, DATA)
    server.put("01/aa/y.jpg")
    return server


def listed(storage: S3Storage, key: str = KEY) -> StoredObject:
    return next(obj for obj in storage.list() if obj.key == key)


def keep(_server: OddS3, request: Request, _key: str) -> None:
    """Soft delete and retention: 204, and the object stays."""
    request.send(204)


def refuse(status: int, code: str) -> Callable[[OddS3, Request, str], None]:
    return lambda _server, request, _key: request.refuse(status, code)


def lose_the_answer(server: OddS3, request: Request, key: str) -> None:
    """Carried out, and the connection breaks before the answer."""
    server.objects.pop(key, None)
    request.close_connection = True
    request.connection.close()


# Refused, or not done


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (403, "AccessDenied"),
        (405, "MethodNotAllowed"),
        (409, "FileImmutable"),
        (409, "OperationNotAllowedByRetention"),
        (412, "PreconditionFailed"),
        (403, "SomethingNew"),
    ],
)
def test_a_refused_deletion_is_denied_and_no_change(server: OddS3, status: int, code: str) -> None:
    """Whatever the word: nothing changed, the account may not. The object is left and the reason is told."""
    server.delete = refuse(status, code)
    with odd_storage(server) as (storage, _), pytest.raises(AccessDenied, match=code):
        storage.delete(KEY, expected=listed(storage), sha256=SHA256)
    assert KEY in server.objects


@pytest.mark.parametrize(("status", "code"), [(400, "InvalidRequest"), (451, "Unavailable"), (501, "NotImplemented")])
def test_another_refusal_is_an_error_about_this_object(server: OddS3, status: int, code: str) -> None:
    """It counts as failed too, and ends no run."""
    server.delete = refuse(status, code)
    with odd_storage(server) as (storage, _), pytest.raises(StorageError, match=code) as caught:
        storage.delete(KEY)
    assert type(caught.value) is StorageError


def test_what_the_server_says_it_deleted_and_keeps_is_not_deleted(server: OddS3) -> None:
    """The object is looked at again; so is the doctor's own probe object."""
    server.delete = keep
    server.missing = (404, "NoSuchKey")
    with odd_storage(server) as (storage, scripted):
        with pytest.raises(AccessDenied, match="still there"):
            storage.delete(KEY)
        assert sum(command == "HEAD" for command, _ in scripted.seen) == 1 + len(removal.PAUSES_S)


def test_what_takes_a_moment_to_go_is_deleted(server: OddS3) -> None:
    """A store of several machines shows the object for a moment longer."""
    looks = itertools.count()

    def headers(method: str, key: str, headers: dict[str, str]) -> dict[str, str]:
        if method == "HEAD" and next(looks) == 2:
            server.objects.pop(key)
        return headers

    server.delete, server.headers = keep, headers
    with odd_storage(server) as (storage, _):
        assert storage.delete(KEY) is True
        assert storage.delete(KEY) is False


def test_a_delete_marker_is_a_deletion(server: OddS3) -> None:
    """With versioning the old version stays, and is 404 for everybody who asks without its number."""
    with odd_storage(server) as (storage, _):
        assert storage.delete(KEY) is True


def test_what_is_uploaded_again_at_once_is_another_object(server: OddS3) -> None:
    """The judged one is deleted; the new one stays for the next pass."""

    def delete_and_get_another(server: OddS3, request: Request, key: str) -> None:
        server.put(key, b"a new upload")
        request.send(204)

    server.delete = delete_and_get_another
    with odd_storage(server) as (storage, _):
        assert storage.delete(KEY, expected=listed(storage)) is True
    assert server.objects[KEY] == b"a new upload"


# Lost answers


@pytest.mark.parametrize("missing", [(404, "NoSuchKey"), (403, "AccessDenied")])
@pytest.mark.parametrize("attempts", [1, 3])
def test_a_deletion_whose_answer_was_lost_is_done(server: OddS3, missing: tuple[int, str], attempts: int) -> None:
    """Also where the server says 403 for what is not there: the listing shows nothing under the name."""
    server.delete, server.missing = lose_the_answer, missing
    with odd_storage(server, attempts=attempts) as (storage, _):
        assert storage.delete(KEY) is True
        assert storage.delete(KEY) is False


@pytest.mark.parametrize("refusal", [(403, "AccessDenied"), (404, "NoSuchKey"), (405, "MethodNotAllowed")])
def test_a_deletion_that_was_sent_again_and_is_then_refused_is_done(server: OddS3, refusal: tuple[int, str]) -> None:
    """The library repeats what it got no answer to; the second time there is nothing left."""
    server.missing = (403, "AccessDenied")
    asked = itertools.count()

    def delete(server: OddS3, request: Request, key: str) -> None:
        if next(asked) == 0:
            lose_the_answer(server, request, key)
        else:
            request.refuse(*refusal)

    server.delete = delete
    with odd_storage(server, attempts=2) as (storage, _):
        assert storage.delete(KEY) is True


def test_an_answer_that_was_lost_before_anything_was_done_is_a_passing_fault(server: OddS3) -> None:
    """The object is there: the next start does it again."""

    def lose(_server: OddS3, request: Request, _key: str) -> None:
        request.close_connection = True
        request.connection.close()

    server.delete = lose
    with odd_storage(server) as (storage, _), pytest.raises(StorageUnreachable):
        storage.delete(KEY)
    assert KEY in server.objects


def test_an_object_that_may_not_be_looked_at_is_not_taken_for_gone(server: OddS3) -> None:
    """403 for HEAD, and the listing has it: that is a matter of rights."""
    whole = server.answer

    def answer(request: Request) -> None:
        if request.command == "HEAD":
            request.send(403)
        else:
            whole(request)

    server.answer = answer  # type: ignore[method-assign]
    with odd_storage(server) as (storage, _):
        for operation in (lambda: storage.stat(KEY), lambda: storage.delete(KEY)):
            with pytest.raises(AccessDenied):
                operation()
    assert KEY in server.objects


def test_where_neither_head_nor_listing_may_be_asked_nothing_is_taken_for_gone(server: OddS3) -> None:
    """Nothing proves it, so it stays open."""
    server.objects.clear()
    server.missing = (403, "AccessDenied")
    with odd_storage(server) as (storage, scripted):
        scripted.script = lambda request: request.refuse(403, "AccessDenied")
        with pytest.raises(AccessDenied):
            storage.delete(KEY)


# Descriptions that differ


def tags(*, listing: Callable[[str], str | None], head: Callable[[str], str | None]) -> OddS3:
    """A server whose tags are made of the true one by these."""
    server = OddS3()

    def entry(_key: str, fields: dict[str, str]) -> dict[str, str]:
        tag = listing(fields.pop("ETag"))
        return fields if tag is None else {**fields, "ETag": tag}

    def headers(_method: str, _key: str, headers: dict[str, str]) -> dict[str, str]:
        tag = head(headers.pop("ETag"))
        return headers if tag is None else {**headers, "ETag": tag}

    server.entry, server.headers = entry, headers
    server.put(KEY, DATA)
    return server


def same(tag: str) -> str:
    return tag


def numbered(first: int) -> Callable[[str], str]:
    numbers: Iterator[int] = itertools.count(first)
    return lambda _tag: f'"{next(numbers)}"'


ODD_TAGS = {
    "another one on HEAD": lambda: tags(listing=same, head=lambda tag: '"x' + tag[2:]),
    "an empty one on HEAD": lambda: tags(listing=same, head=lambda _: '""'),
    "none on HEAD": lambda: tags(listing=same, head=lambda _: None),
    "another one at each look": lambda: tags(listing=numbered(0), head=numbered(1000)),
    "an empty one in the listing": lambda: tags(listing=lambda _: "&quot;&quot;", head=same),
    "with and without a part number": lambda: tags(listing=same, head=lambda tag: tag[:-1] + '-2"'),
}


@pytest.mark.parametrize("make", ODD_TAGS.values(), ids=ODD_TAGS)
def test_the_bytes_decide_where_tags_differ(make: Callable[[], OddS3]) -> None:
    """Size, time and SHA-256 agree: the judged object is deleted at once, not refused in every pass."""
    server = make()
    with odd_storage(server) as (storage, _):
        assert storage.delete(KEY, expected=listed(storage), sha256=SHA256) is True
    assert server.objects == {}


@pytest.mark.parametrize("habit", ODD_TAGS)
@pytest.mark.parametrize("data", [DATA[::-1], DATA + b"!", b""])
def test_other_bytes_are_left_alone_whatever_the_tags_say(habit: str, data: bytes) -> None:
    """Of the same size or not, and of the same time where there are two tags: they were never judged."""
    server = ODD_TAGS[habit]()
    two_tags = "empty" not in habit and "none" not in habit
    with odd_storage(server) as (storage, _):
        judged = listed(storage)
        server.put(KEY, data, modified_at=LONG_AGO if two_tags else LONG_AGO.replace(year=2027))
        with pytest.raises(ObjectChanged):
            storage.delete(KEY, expected=judged, sha256=SHA256)
    assert server.objects[KEY] == data


def test_a_server_whose_times_differ_is_believed_by_its_bytes_too() -> None:
    """No tag, and 1970 in listings: otherwise nothing would ever be deleted there."""
    server = tags(listing=lambda _: None, head=lambda _: None)
    entry = server.entry
    server.entry = lambda key, fields: {**entry(key, fields), "LastModified": "1970-01-01T00:00:00.000Z"}
    with odd_storage(server) as (storage, _):
        assert storage.delete(KEY, expected=listed(storage), sha256=SHA256) is True
        assert "time of modification" in storage.learned.notes[-1]


def test_an_object_that_is_packed_on_the_way_is_known_by_its_bytes() -> None:
    """HEAD tells the packed size, so nothing would ever be deleted; GET is unpacked before it is compared."""
    packed = gzip.compress(DATA)
    server = tags(listing=same, head=lambda tag: tag[:-1] + '-gzip"')
    headers = server.headers
    server.headers = lambda method, key, sent: {
        **headers(method, key, sent),
        "Content-Encoding": "gzip",
        "Content-Length": str(len(packed)),
    }
    server.body = lambda _key, _data: packed
    with odd_storage(server) as (storage, _):
        assert storage.delete(KEY, expected=listed(storage), sha256=SHA256) is True
        assert "size, entity tag" in storage.learned.notes[0]


def test_it_is_said_once_that_descriptions_differ() -> None:
    """By the pass that found it out, and by the doctor."""
    server = ODD_TAGS["another one on HEAD"]()
    server.put("01/aa/y.jpg", DATA)
    with odd_storage(server) as (storage, _):
        for key in (KEY, "01/aa/y.jpg"):
            assert storage.delete(key, expected=listed(storage, key), sha256=SHA256) is True
        (note,) = storage.learned.notes
        assert "(entity tag)" in note
        assert "SHA-256" in note
    server.put(KEY, DATA)
    with odd_storage(server) as (storage, _):
        assert all(step.ok for step in probe(storage) if step.name == "read")
        assert "(entity tag)" in storage.learned.notes[0]


def test_without_a_digest_a_differing_tag_is_a_change(server: OddS3) -> None:
    """Nothing could prove that the object is the same, so it is left alone."""
    server.headers = lambda _method, _key, headers: {**headers, "ETag": '"other"'}
    with odd_storage(server) as (storage, _), pytest.raises(ObjectChanged):
        storage.delete(KEY, expected=listed(storage))
    assert KEY in server.objects


@settings(max_examples=examples(60), deadline=None)
@given(
    present=st.binary(max_size=40),
    judged=st.one_of(st.none(), st.binary(max_size=40)),
    listed_tag=st.sampled_from([None, "a", "b", ""]),
    head_tag=st.sampled_from([None, "a", "b", ""]),
)
def test_only_judged_bytes_are_ever_deleted(
    present: bytes, judged: bytes | None, listed_tag: str | None, head_tag: str | None
) -> None:
    """Any tags, any content: what is deleted was judged, and what was judged is deleted unless all it has is a new time."""
    judged = present if judged is None else judged
    server = tags(
        listing=lambda _: None if listed_tag is None else f"&quot;{listed_tag}&quot;",
        head=lambda _: None if head_tag is None else f'"{head_tag}"',
    )
    server.put(KEY, judged)
    with odd_storage(server) as (storage, _):
        expected = listed(storage)
        server.put(KEY, present, modified_at=LONG_AGO if present == judged else LONG_AGO.replace(year=2027))
        try:
            done = storage.delete(KEY, expected=expected, sha256=hashlib.sha256(judged).hexdigest())
        except ObjectChanged:
            done = False
    if listed_tag and listed_tag == head_tag and len(present) == len(judged):
        return  # the server itself says that nothing changed
    assert done is (present == judged)
    assert (KEY in server.objects) is not done
