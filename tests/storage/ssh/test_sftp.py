"""The SFTP client and the reading of find's output against servers that are slow, odd or hostile; no sshd needed."""

from __future__ import annotations

import contextlib
import itertools
import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.examples import examples

from lemmy_safety.errors import StorageError
from lemmy_safety.storage.ssh.find import parse_record, split_records
from lemmy_safety.storage.ssh.found import FoundFile
from lemmy_safety.storage.ssh.sftp import SftpSession
from lemmy_safety.storage.ssh.sftp_transfer import PIECE_BYTES
from lemmy_safety.storage.ssh.sftp_wire import SftpBroken, SftpRefusal

VERSION = struct.pack(">IBI", 5, 2, 3)


class Channel:
    """As much of paramiko's channel as a session uses; answers are made by ``answer(kind, number, body)``."""

    def __init__(self, *, chunk: int = 2**30, shuffled: random.Random | None = None) -> None:
        self._chunk = chunk
        self._shuffled = shuffled
        self._to_client = bytearray()
        self.asked: list[int] = []

    def sendall(self, data: bytes) -> None:
        answers = []
        while data:
            (length,) = struct.unpack(">I", data[:4])
            kind, body, data = data[4], data[5 : 4 + length], data[4 + length :]
            if kind == 1:
                answers.append(VERSION)
                continue
            self.asked.append(kind)
            kind, answer = self.answer(kind, body[4:])
            answers.append(struct.pack(">IB", len(answer) + 5, kind) + body[:4] + answer)
        if self._shuffled:
            self._shuffled.shuffle(answers)
        for answer in answers:
            self._to_client += answer

    def recv(self, size: int) -> bytes:
        size = min(size, self._chunk)
        data = bytes(self._to_client[:size])
        del self._to_client[:size]
        return data

    def answer(self, kind: int, body: bytes) -> tuple[int, bytes]:
        raise NotImplementedError


def text(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def status(code: int) -> tuple[int, bytes]:
    return 101, struct.pack(">I", code) + text(b"words") + text(b"en")


class FileServer(Channel):
    """One file, given in pieces of at most ``most`` bytes."""

    def __init__(self, content: bytes, most: int, **how) -> None:
        super().__init__(**how)
        self._content = content
        self._most = most

    def answer(self, kind: int, body: bytes) -> tuple[int, bytes]:
        if kind == 3:
            return 102, text(b"handle")
        if kind == 5:
            offset, length = struct.unpack(">QI", body[-12:])
            piece = self._content[offset : offset + min(length, self._most)]
            return (103, text(piece)) if piece else status(1)
        if kind == 16:
            return 104, struct.pack(">I", 1) + body + text(b"") + struct.pack(">I", 0)
        if kind in (7, 8):
            return 105, struct.pack(">IQI", 5, len(self._content), 0o100644)
        return status(0)


@settings(max_examples=examples(80))
@given(
    length=st.one_of(
        st.integers(0, 5), st.integers(0, 4 * PIECE_BYTES), st.sampled_from([PIECE_BYTES, 80 * PIECE_BYTES])
    ),
    said=st.one_of(st.none(), st.integers(0, 3 * PIECE_BYTES)),
    limit=st.one_of(st.just(10**9), st.integers(1, 3 * PIECE_BYTES)),
    most=st.sampled_from([1_000, 20_000, PIECE_BYTES, 10**6]),
    chunk=st.sampled_from([1_000, 2**30]),
    seed=st.one_of(st.none(), st.integers(0, 99)),
)
def test_a_file_is_read_whole_whatever_the_server_does(*, length, said, limit, most, chunk, seed) -> None:
    """Pieces shorter than asked, answers in any order, a file that is longer or shorter than it was said to be."""
    content = random.Random(length).randbytes(length)
    server = FileServer(content, most, chunk=chunk, shuffled=None if seed is None else random.Random(seed))
    session = SftpSession(server)
    size = length if said is None else said
    reading = session.read(b"/folder", [b"/folder"], b"/folder/path", size=size, limit=limit)
    read = reading.content
    assert reading.opened == reading.look.facts == reading.look.parents[0]
    assert reading.look.real_folder == b"/folder"
    whole = content[:limit]
    # A server of short pieces cannot tell "all there was" from "grown since"; what was there when it was asked is read.
    assert whole.startswith(read)
    assert len(read) >= min(len(whole), size)
    if most >= PIECE_BYTES and length <= size:
        assert read == whole
    assert session.read(b"/", [], b"/path", size=size, limit=limit).content == read
    assert server.asked.count(4) == 2


class WritableServer(Channel):
    """Takes one new file; refuses everything from the piece with the number ``full`` on."""

    def __init__(self, full: int, **how) -> None:
        super().__init__(**how)
        self.content = bytearray()
        self.full = full

    def answer(self, kind: int, body: bytes) -> tuple[int, bytes]:
        if kind == 3:
            return 102, text(b"handle")
        if kind == 6:
            if self.asked.count(6) > self.full:
                return status(4)
            handle = len(text(b"handle"))
            offset, length = struct.unpack(">QI", body[handle : handle + 12])
            assert offset == len(self.content)
            self.content += body[handle + 12 :]
            assert len(body) == handle + 12 + length
        return status(8 if kind == 200 else 0)


@settings(max_examples=examples(60))
@given(
    length=st.one_of(
        st.integers(0, 5), st.integers(0, 4 * PIECE_BYTES), st.sampled_from([PIECE_BYTES, 80 * PIECE_BYTES])
    ),
    full=st.one_of(st.just(10**9), st.integers(0, 90)),
    seed=st.one_of(st.none(), st.integers(0, 99)),
)
def test_a_file_is_written_whole_or_refused(*, length, full, seed) -> None:
    """In pieces that every server must take, whatever the order of the answers; a refusal leaves no open file behind."""
    content = random.Random(length).randbytes(length)
    server = WritableServer(full, shuffled=None if seed is None else random.Random(seed))
    session = SftpSession(server)
    pieces = -(-length // PIECE_BYTES)
    if pieces > full:
        with pytest.raises(SftpRefusal):
            session.write_new(b"/path", content, mode=0o600)
    else:
        session.write_new(b"/path", content, mode=0o600)
        assert server.content == content
    assert server.asked.count(4) == 1
    session.remove(b"/path")


class FolderServer(Channel):
    """Folders of files by path; ``no mode`` leaves the type out, as some servers do."""

    def __init__(self, folders: dict[bytes, list[bytes]], *, with_mode: bool = True, **how) -> None:
        super().__init__(**how)
        self._folders = folders
        self._left: dict[bytes, list[bytes]] = {}
        self._with_mode = with_mode

    def answer(self, kind: int, body: bytes) -> tuple[int, bytes]:
        path = body[4:]
        if kind == 11:
            if path not in self._folders:
                return status(2)
            self._left[path] = [b".", b"..", *self._folders[path]]
            return 102, text(path)
        if kind == 12:
            names, self._left[path] = self._left[path][:7], self._left[path][7:]
            if not names:
                return status(1)
            facts = struct.pack(">IQI", 5, 9, 0o100644) if self._with_mode else struct.pack(">IQ", 1, 9)
            return 104, struct.pack(">I", len(names)) + b"".join(
                text(n) + text(b"-rw-r--r-- " + n) + facts for n in names
            )
        if kind == 7:
            return 105, struct.pack(">IQIII", 0x0D, 9, 0o100644, 1, 2)
        return status(0)


@pytest.mark.parametrize("with_mode", [True, False])
def test_folders_share_round_trips_and_keep_apart(with_mode: bool) -> None:
    """Each folder gets its own names, whatever bytes they are; one that vanished does not disturb the others."""
    folders = {
        b"/a": [b"caf\xe9.jpg", "é".encode(), b"x" * 255],
        b"/empty": [],
        b"/b": [b"%d.jpg" % number for number in range(500)],
    }
    session = SftpSession(FolderServer(folders, with_mode=with_mode))
    asked = [b"/a", b"/gone", b"/empty", b"/b"]
    found = session.scan_folders(asked)
    assert isinstance(found[1], SftpRefusal)
    for path, entries in zip(asked, found, strict=True):
        if path in folders:
            assert [entry.name for entry in entries] == folders[path]
            assert {entry.attributes.mode for entry in entries} <= {0o100644}
    assert session.is_empty(b"/empty")
    assert not session.is_empty(b"/a")


class GarbageChannel:
    """Sends what it was given, then nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)

    def sendall(self, data: bytes) -> None:
        pass

    def recv(self, size: int) -> bytes:
        data = bytes(self._data[:size])
        del self._data[:size]
        return data


def packet(kind: int, number: int, body: bytes) -> bytes:
    return struct.pack(">IBI", len(body) + 5, kind, number) + body


class SizelessServer(Channel):
    """A folder with one file and one folder, whose attributes hold a mode and nothing else, however they are asked for."""

    def answer(self, kind: int, body: bytes) -> tuple[int, bytes]:  # noqa: ARG002
        if kind == 11:
            return 102, text(b"handle")
        if kind == 7:
            return 105, struct.pack(">II", 0x04, 0o100644)
        if kind == 12 and self.asked.count(12) == 1:
            names = [(b"folder", 0o040755), (b"file", 0o100644)]
            entries = (text(name) + text(b"") + struct.pack(">II", 0x04, mode) for name, mode in names)
            return 104, struct.pack(">I", len(names)) + b"".join(entries)
        return status(1 if kind == 12 else 0)


def test_a_file_without_a_size_is_not_taken_for_an_empty_one() -> None:
    """The folder counts as one that cannot be listed, and that is said."""
    session = SftpSession(SizelessServer())
    (refusal,) = session.scan_folders([b"/a"])
    assert isinstance(refusal, SftpRefusal)
    assert session.lstat(b"/a/file").size is None


def test_a_size_beyond_all_files_is_no_answer() -> None:
    """It must not reach the budget of bytes, nor the database."""
    huge = struct.pack(">IQI", 0x05, 2**63, 0o100644)
    session = SftpSession(GarbageChannel(VERSION + packet(105, 1, huge)))
    with pytest.raises(SftpBroken, match="larger"):
        session.lstat(b"/a")


GARBAGE = st.one_of(
    st.binary(max_size=60),
    st.lists(
        st.builds(
            packet, st.sampled_from([101, 102, 103, 104, 105, 200, 201, 0]), st.integers(1, 6), st.binary(max_size=40)
        ),
        max_size=6,
    ).map(b"".join),
)


@settings(max_examples=examples(400))
@given(data=GARBAGE, greeting=st.sampled_from([VERSION, b""]))
def test_a_server_that_sends_garbage_breaks_only_its_session(data: bytes, greeting: bytes) -> None:
    """Whatever comes, the caller sees a refusal or a broken session, never anything else."""
    for operation in (
        lambda session: session.look(b"/b", [b"/b"], b"/b/a"),
        lambda session: session.read(b"/b", [b"/b"], b"/b/a", size=10, limit=100),
        lambda session: session.scan_folders([b"/a", b"/b"]),
        lambda session: session.is_empty(b"/a"),
        lambda session: session.file_system(b"/a"),
        lambda session: session.remove(b"/a"),
        lambda session: session.write_new(b"/a", b"x" * 100, mode=0o600),
    ):
        with contextlib.suppress(SftpBroken, SftpRefusal):
            operation(SftpSession(GarbageChannel(greeting + data)))
        with pytest.raises(SftpBroken):
            operation(SftpSession(GarbageChannel(b"")))


@given(
    files=st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=30).filter(lambda name: b"\0" not in name),
            st.integers(0, 2**40),
            st.integers(0, 2**32 - 1),
            st.integers(0, 10**10 - 1),
        ),
        max_size=8,
    ),
    cuts=st.lists(st.integers(0, 400), max_size=8),
)
def test_what_find_prints_is_read_back(files, cuts) -> None:
    """Any name, in chunks that end anywhere."""
    output = b"".join(b"%d.%010d %d ./%s\0" % (mtime, fraction, size, name) for name, size, mtime, fraction in files)
    edges = sorted({0, len(output), *(cut for cut in cuts if cut < len(output))})
    chunks = [output[start:end] for start, end in itertools.pairwise(edges)]
    records = [parse_record(record) for record in split_records(chunks)]
    assert [found for found, _ in records] == [FoundFile(name, size, mtime) for name, size, mtime, _ in files]
    assert [us for _, us in records] == [mtime * 10**6 + fraction // 10**4 for _, _, mtime, fraction in files]
    if output:
        with pytest.raises(EOFError):
            list(split_records([output[:-1]]))


def test_a_record_without_an_end_is_refused_while_it_comes() -> None:
    """A server that never ends a record is read no further than any path is long, and nothing is kept of it."""
    chunks = (b"x" * 1_000 for _ in range(1_000_000))
    with pytest.raises(StorageError, match="find on the server wrote something unexpected"):
        list(split_records(chunks))
    assert sum(1 for _ in chunks) > 999_900


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"x",
        b"1 2",
        b"a.b 5 ./x",
        b"1.0 five ./x",
        b"1.0 -5 ./x",
        b"1.0 %d ./x" % 2**63,
        b"1.0 5 ./",
        b"nan 5 ./x",
        b"This service allows sftp connections only.\n",
    ],
)
def test_what_find_never_prints_is_no_listing(record: bytes) -> None:
    """An unexpected text is an error that shows it."""
    with pytest.raises(StorageError, match="unexpected"):
        parse_record(record)
