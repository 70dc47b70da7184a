"""CSV: what strangers name their files is text to a spreadsheet, and never a formula."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lemmy_safety.cli.output.tables import as_text_cell, csv_text
from lemmy_safety.cli.output.text import json_text, lines_without_controls, printable, without_controls
from lemmy_safety.detectors.hashes.canary import canary_png

UNSEEN = {"Cc", "Cf", "Zl", "Zp"}

FORMULAS = (
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1",
    "-2+3",
    "-",
    "@SUM(1)",
    " =1",
    "\u00a0=1",
    "\t=1",
    "\tplain",
    "\rplain",
    "\n=1",
    "\ufeff=1",
    "\uff1d1+1",
    "\uff20SUM(1)",
)


def _read(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("cell", FORMULAS)
def test_a_cell_that_would_be_calculated_is_text(cell) -> None:
    """An apostrophe in front of it; the rest is as it was."""
    assert as_text_cell(cell) == f"'{cell}"


@pytest.mark.parametrize(
    "cell", ["", "01/aa/0.webp", "a=b", "a-b", "'=1", "2026-11-20T10:43:44Z", "\udc80=", "é=", '"=1']
)
def test_other_cells_stay_as_they_are(cell) -> None:
    """Keys of pict-rs, times, and formula signs behind something else."""
    assert as_text_cell(cell) == cell


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), min_size=1, max_size=4))
def test_no_cell_begins_as_a_formula_and_none_is_lost(cells) -> None:
    """Whatever the text: read back, each cell is the text, its controls as escapes, itself or behind an apostrophe."""
    written = csv_text(("a",) * len(cells), [cells])
    _, row = _read(written)
    texts = [without_controls(text) for text in cells]
    assert [cell in {text, f"'{text}"} for cell, text in zip(row, texts, strict=True)] == [True] * len(cells)
    assert {char for char in written if unicodedata.category(char) in UNSEEN} == {"\n"}
    for cell in row:
        assert unicodedata.normalize("NFKC", cell.lstrip())[:1] not in set("=+-@")
        assert cell[:1] not in {"\t", "\r", "\n"}


@pytest.mark.parametrize("key", ["=HYPERLINK(1).png", "@a.png", "-a/b.png", "+a.png", "a;=1.png"])
def test_the_list_of_flagged_objects_holds_no_formula(call, store, key) -> None:
    """Nor does a key begin a new cell where spreadsheets separate by semicolons; JSON has the exact key."""
    store.put(key, canary_png())
    assert call("--all", "--dry-run").exit_code == 0
    text = call("flagged", "--csv").stdout
    assert ("a;" in key and f'"{key}",' in text) or f'"\'{key}",' in text
    assert f'"key": "{key}"' in call("flagged", "--json").stdout


def test_the_list_of_unreadable_objects_holds_no_formula(call, store) -> None:
    """The same cells, the same rule."""
    store.put("=1.png", b"no picture")
    call("--all", "--dry-run")
    assert [row[0] for row in _read(call("unreadable", "--csv").stdout)] == ["key", "'=1.png"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("\x1b[2J\x7f\x9b\r")
@example("a\u202egnp.exe\u2066\u2069\u200b\u2028\u061c\U000e0041")
def test_no_form_of_output_has_a_character_that_cannot_be_seen(text) -> None:
    """Tables, CSV, JSON and messages: ESC, carriage returns, and what turns the direction are written as escapes."""
    for written in (
        printable(text), without_controls(text), lines_without_controls(text), csv_text(("a",), [(text,)]), json_text(text)
    ):  # fmt: skip
        assert {char for char in written if unicodedata.category(char) in UNSEEN} <= {"\n"}
    assert json.loads(json_text(text)) == text


@pytest.mark.parametrize("shape", [[], ["--csv"]])
@pytest.mark.parametrize("listed", ["flagged", "unreadable"])
def test_a_key_that_turns_the_direction_shows_how_it_is_spelled(call, store, listed, shape) -> None:
    """The table and the CSV have the escape, JSON the exact key in the spelling of JSON."""
    key = "a\u202egnp.exe"
    store.put(key, canary_png() if listed == "flagged" else b"no picture")
    assert call("--all", "--dry-run").exit_code == 0
    assert r"a\u202egnp.exe" in call(listed, *shape).stdout
    assert "\u202e" not in call(listed, *shape).stdout
    exact = call(listed, "--json").stdout
    assert exact.isascii()
    assert key in {row["key"] for row in json.loads(exact)}


def test_controls_are_written_as_the_table_has_them() -> None:
    """What a file's name or a decoder's words hold."""
    assert without_controls("a\x1b[2J\r\x9b\tb\\é\u202e") == "a\\x1b[2J\\r\\x9b\\tb\\é\\u202e"
