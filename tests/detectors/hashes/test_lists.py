"""Hash list files, and the search in them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.detectors.hashes import lists as module
from lemmy_safety.detectors.hashes.lists import HashEntry, HashList, Nearest, PdqIndex
from lemmy_safety.errors import DetectorError
from lemmy_safety.fingerprints import MAX_DISTANCE, distance, sha256_of

hashes = st.binary(min_size=32, max_size=32).map(bytes.hex)
PDQ = "f8f8f0cee0f4a84f06370a22038f63f0b36e2ed596621e1d33e6b39c4e9c9b22"
SHA = sha256_of(b"known")


def parsed(*lines):
    return HashList.parse(lines, source="list.txt")


def flipped(text, bits):
    """The hash with these bits turned over."""
    return f"{int(text, 16) ^ sum(1 << bit for bit in bits):064x}"


def test_a_file_with_comments_notes_and_blank_lines_is_read(tmp_path):
    """Both kinds, upper case, notes, comments, blank lines, Windows line ends and a byte order mark are understood."""
    path = tmp_path / "list.txt"
    path.write_bytes(f"\ufeff# ours\r\n\r\nsha256 {SHA.upper()} from upload 7\r\n  PDQ {PDQ}\r\n".encode())
    found = HashList.load(path)
    assert len(found) == 2
    assert found.match_sha256(SHA) == HashEntry(line=3, note="from upload 7")
    assert found.match_sha256(sha256_of(b"unknown")) is None
    match = found.match_pdq([PDQ])
    assert match is not None
    assert (match.entry, match.query, match.distance) == (HashEntry(line=4), 0, 0)


@pytest.mark.parametrize(
    "line",
    ["md5 d41d8cd98f00b204e9800998ecf8427e", "sha256", f"sha256 {SHA[:-1]}", f"pdq {PDQ}0", "pdq " + "g" * 64, PDQ],
)
def test_a_line_that_is_no_entry_is_named(line, tmp_path):
    """A bad line is refused with file, line number and the right form, and is not repeated in the message."""
    path = tmp_path / "list.txt"
    path.write_text(f"# first\npdq {PDQ}\n{line}\n", encoding="utf-8")
    with pytest.raises(DetectorError, match=r"Line 3 of the hash list .*list\.txt") as caught:
        HashList.load(path)
    assert "sha256 <64 hex digits>" in caught.value.hint
    assert line not in caught.value.message


def test_a_missing_file_is_named(tmp_path):
    """A file that is not there, or is a folder, is one clear error."""
    with pytest.raises(DetectorError, match=r"missing\.txt cannot be read: .+\."):
        HashList.load(tmp_path / "missing.txt")
    with pytest.raises(DetectorError, match="cannot be read"):
        HashList.load(tmp_path)


def test_a_file_that_is_no_text_is_named(tmp_path):
    """A binary file is refused as such."""
    path = tmp_path / "list.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(DetectorError, match="not a UTF-8 text file"):
        HashList.load(path)


def test_an_empty_list_matches_nothing_and_says_so(tmp_path, caplog):
    """A list of comments is allowed, matches nothing, and is logged as empty."""
    path = tmp_path / "list.txt"
    path.write_text("# nothing yet\n", encoding="utf-8")
    found = HashList.load(path)
    assert len(found) == 0
    assert found.match_sha256(SHA) is None
    assert found.match_pdq([PDQ]) is None
    assert "has no entries" in caplog.text


def test_the_first_of_two_equal_entries_counts():
    """A hash listed twice is one entry, with the first line and its note."""
    found = parsed(f"sha256 {SHA} first", f"sha256 {SHA.upper()} second", f"pdq {PDQ}", f"pdq {PDQ} noted")
    assert len(found) == 2
    assert found.match_sha256(SHA) == HashEntry(line=1, note="first")
    match = found.match_pdq([PDQ])
    assert match is not None
    assert match.entry == HashEntry(line=3)


def test_the_same_hex_of_another_kind_is_another_entry():
    """A SHA-256 is not found among PDQ hashes, nor the other way round."""
    found = parsed(f"pdq {SHA}")
    assert found.match_sha256(SHA) is None
    assert parsed(f"sha256 {PDQ}").match_pdq([PDQ]) is None


def test_the_digest_names_the_entries_and_nothing_else():
    """Order, notes, case and comments do not change the digest; an entry more or another kind does."""
    digest = parsed(f"sha256 {SHA}", f"pdq {PDQ}").digest
    assert len(digest) == 12
    assert parsed("# note", f"pdq {PDQ.upper()} why", f"sha256 {SHA}").digest == digest
    assert parsed(f"sha256 {SHA}").digest != digest
    assert parsed(f"sha256 {SHA}").digest != parsed(f"pdq {SHA}").digest


@given(st.lists(st.text(max_size=60) | st.sampled_from(["", "  ", "# note", "#"]), max_size=5))
def test_any_other_text_is_a_detector_error(lines):
    """Lines too short for a hash are blank, comments, or exactly our error, whatever they hold."""
    entries = [line for line in (line.strip() for line in lines) if line and not line.startswith("#")]
    if entries:
        with pytest.raises(DetectorError, match=r"list\.txt is not an entry"):
            parsed(*lines)
    else:
        assert len(parsed(*lines)) == 0


@given(st.lists(hashes, max_size=30), st.lists(hashes, max_size=30), hashes)
def test_exactly_the_listed_digests_are_found(shas, pdqs, other):
    """Every listed SHA-256 is found on the line it stands on, and no other is."""
    found = parsed(*(f"pdq {text}" for text in pdqs), *(f"sha256 {text}" for text in shas))
    for text in shas:
        assert found.match_sha256(text) == HashEntry(line=len(pdqs) + shas.index(text) + 1)
    assert (found.match_sha256(other) is not None) == (other in shas)


@given(st.data())
def test_the_nearest_hash_is_the_one_that_comparing_one_by_one_finds(data):
    """The packed search agrees with the plain distance, including its order among equals and its limit."""
    rows = data.draw(st.lists(hashes, max_size=20))
    queries = data.draw(st.lists(hashes, max_size=4))
    for row in rows[:3]:
        bits = data.draw(st.sets(st.integers(0, 255), min_size=25, max_size=38))
        queries.append(flipped(row, bits))
    every = [
        Nearest(row=row, query=query, distance=distance(text, known))
        for query, text in enumerate(queries)
        for row, known in enumerate(rows)
    ]
    within = [one for one in every if one.distance <= MAX_DISTANCE]
    expected = min(within, key=lambda one: (one.distance, one.query, one.row), default=None)
    assert PdqIndex.of(rows).nearest(queries) == expected


@pytest.mark.parametrize(("bits", "matches"), [(0, True), (31, True), (32, False), (256, False)])
def test_the_limit_is_31_bits(bits, matches):
    """A hash 31 bits away matches, one 32 bits away does not."""
    near = flipped(PDQ, range(bits))
    assert (parsed(f"pdq {PDQ}").match_pdq([near]) is not None) is matches


def test_a_long_list_is_searched_to_its_end():
    """Matches in every chunk of a list of 100,000 are found, with the line they stand on."""
    packed = np.random.default_rng(3).bytes(32 * 100_000)
    texts = [packed[32 * row : 32 * row + 32].hex() for row in range(100_000)]
    found = parsed(*(f"pdq {text}" for text in texts))
    for row in (0, 32_767, 32_768, 65_536, 99_999):
        match = found.match_pdq([flipped(texts[row], range(5, 15))])
        assert match is not None
        assert (match.entry.line, match.distance) == (row + 1, 10)


def test_older_numpy_counts_bits_the_same(monkeypatch):
    """The table used with numpy 1.26 counts like Python, and gives the same search result."""
    words = np.random.default_rng(5).integers(0, 2**64, 1000, dtype=np.uint64, endpoint=False)
    expected = [int(word).bit_count() for word in words]
    assert module._popcount_by_table(words).tolist() == expected
    assert module._popcount(words).tolist() == expected
    monkeypatch.setattr(module, "_popcount", module._popcount_by_table)
    assert PdqIndex.of([PDQ]).nearest([flipped(PDQ, range(9))]) == Nearest(row=0, query=0, distance=9)
