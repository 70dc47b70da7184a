"""Many flags at once: counted by why they are there, and settled by it. Verdicts are stored scores, and the canary."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta

import pytest
from support.admin import eventually
from support.ledger.created import new_ledger
from support.ledger.results import StepClock, flagged, record

from lemmy_safety.errors import ActionRefused
from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.records import Finding, Outcome, Review, Verdict

LOCAL = "local:/var/lib/pict-rs/files"
ELSEWHERE = "local:/elsewhere"


def finding(detector: str, label: str, score: float) -> Finding:
    return Finding(detector=detector, version="1", label=label, score=score, threshold=0.2)


def row(key: str, *findings: Finding, content: str = ""):
    verdict = Verdict(outcome=Outcome.FLAGGED, nsfw=None, findings=findings, rules_version="rules-1")
    return flagged(key, content, verdict=verdict)


@pytest.fixture
def database(tmp_path, monkeypatch):
    """Seven flags in two storages: by the canary, by clip, by nudenet at three scores, by two detectors at once."""
    monkeypatch.setenv("LEMMY_SAFETY_NUDENET_FLAGS", "true")
    path = tmp_path / "lemmy_safety.db"
    rows = [
        row("canary", finding("hashes", "canary", 1.0)),
        row("clip", finding("clip", "csam", 1.0), finding("clip", "nsfw", 1.0)),
        row("low", finding("nudenet", "BUTTOCKS_EXPOSED", 0.61)),
        row("middle", finding("nudenet", "BUTTOCKS_EXPOSED", 0.75), finding("nudenet", "FACE_FEMALE", 0.99)),
        row("high", finding("nudenet", "ANUS_EXPOSED", 0.93)),
        row("both", finding("hashes", "pdq-list", 0.9), finding("nudenet", "BUTTOCKS_EXPOSED", 0.61)),
    ]
    with new_ledger(path, clock=StepClock()) as ledger:
        record(ledger, rows, storage=LOCAL, action=None)
        record(ledger, [row("there", finding("nudenet", "BUTTOCKS_EXPOSED", 0.62))], storage=ELSEWHERE, action=None)
    return path


def decided(path) -> dict[str, str]:
    with open_ledger(sqlite_url(path)) as ledger:
        rows = ledger.reviews.flagged(include_settled=True)
        return {each.key: each.review.value for each in rows if each.review is not Review.NONE}


@pytest.mark.parametrize(
    ("by", "counts"),
    [
        (
            "label",
            {
                "nudenet: BUTTOCKS_EXPOSED": 4,
                "clip: csam": 1,
                "hashes: canary": 1,
                "hashes: pdq-list": 1,
                "nudenet: ANUS_EXPOSED": 1,
            },
        ),
        ("detector", {"nudenet": 5, "hashes": 2, "clip": 1}),
        ("score", {"0.9 to 1.0": 4, "0.6 to 0.7": 2, "0.7 to 0.8": 1}),
    ],
)
def test_flags_are_counted_by_what_flagged_them(call, database, by, counts):
    """What does not flag by itself (a face, nudity that clip only notes) counts as no reason."""
    said = json.loads(call("flagged", "--by", by, "--json").stdout)
    assert said == {"by": by, "objects": 7, "counts": counts}
    table = call("flagged", "--by", by).output
    assert all(re.search(rf"{re.escape(name)}\s+{number}\b", table) for name, number in counts.items())
    assert "7 objects flagged as possible." in table


def test_the_counts_leave_out_what_is_settled_unless_asked(call, database):
    """As the list does."""
    assert call("review", "clear", "low").exit_code == 0
    assert json.loads(call("flagged", "--by", "detector", "--json").stdout)["objects"] == 6
    assert json.loads(call("flagged", "--by", "detector", "--json", "--all").stdout)["objects"] == 7


@pytest.mark.parametrize(
    ("filters", "meant"),
    [
        (("--label", "BUTTOCKS_EXPOSED"), {"low", "middle", "there"}),
        (("--label", "clip:csam"), {"clip"}),
        (("--detector", "nudenet"), {"low", "middle", "high", "there"}),
        (("--detector", "hashes"), {"canary"}),
        (("--detector", "hashes", "--detector", "nudenet"), {"canary", "low", "middle", "high", "both", "there"}),
        (("--score-below", "0.75"), {"low", "there"}),
        (("--detector", "nudenet", "--score-below", "0.8"), {"low", "middle", "there"}),
    ],
)
@pytest.mark.parametrize("decision", ["clear cleared", "confirm confirmed"])
def test_filters_settle_flags_that_rest_on_nothing_else(call, database, decision, filters, meant):
    """A flag by a hash list as well as by a low score is not cleared for its low score."""
    verb, word = decision.split()
    result = call("review", verb, *filters, "--yes", "--note", "seen")
    assert result.exit_code == 0, result.output
    assert decided(database) == dict.fromkeys(meant, word)
    assert f"{len(meant)} object{'' if len(meant) == 1 else 's'} {word}." in result.output
    assert "No open flag matches." in call("review", verb, *filters, "--yes").output


def test_since_and_storage_narrow_what_is_meant(call, database, monkeypatch, tmp_path):
    """--since goes by when it was flagged, --storage by where."""
    with open_ledger(sqlite_url(database)) as ledger:
        last = max(each.checked_at for each in ledger.reviews.flagged())
    assert "No open flag matches." in call("review", "clear", "--since", "1h", "--yes").output
    assert call("review", "clear", "--since", last.isoformat(), "--yes").exit_code == 0
    assert decided(database) == {"there": "cleared"}
    folder = tmp_path / "files"
    folder.mkdir()
    monkeypatch.setenv("PICTRS_FILES_DIRECTORY", str(folder))
    narrow = ("--storage", "local", "--since", (last - timedelta(days=1)).isoformat(), "--yes")
    assert "No open flag matches." in call("review", "clear", *narrow).output


def test_a_wrong_time_is_one_clear_line(call, database):
    """With examples of right ones."""
    result = call("review", "clear", "--since", "yesterday", "--yes")
    assert result.exit_code == 2
    assert "'yesterday' is not a time. Examples: 12h, 7d, 2026-11-30" in result.output


@pytest.mark.parametrize("arguments", [(), ("--yes",), ("low", "--detector", "nudenet")])
def test_nothing_is_settled_without_a_key_or_a_filter_and_never_by_both(call, database, arguments):
    """A bare command is a mistake, not a wish for everything."""
    assert call("review", "clear", *arguments).exit_code == 2
    assert decided(database) == {}


def test_without_a_terminal_and_yes_nothing_is_settled(call, database):
    """The rows and their number are shown all the same."""
    result = call("review", "clear", "--detector", "nudenet")
    assert result.exit_code == ActionRefused.exit_code
    assert "4 objects would be cleared" in result.output
    assert "low  (nudenet: BUTTOCKS_EXPOSED)" in result.output
    assert decided(database) == {}


@pytest.mark.parametrize(("answer", "meant"), [("y\n", {"low", "middle", "high", "there"}), ("n\n", set())])
def test_on_a_terminal_the_number_is_shown_and_the_command_asks(call, database, monkeypatch, answer, meant):
    """Only yes settles."""
    monkeypatch.setattr("lemmy_safety.cli.commands.review.at_a_terminal", lambda: True)
    result = call("review", "clear", "--detector", "nudenet", stdin=answer)
    assert "Clear 4 objects?" in result.output
    assert set(decided(database)) == meant


def test_what_is_flagged_while_the_question_waits_is_not_settled(call, database, monkeypatch):
    """Only what was counted and shown."""

    def someone() -> bool:
        with open_ledger(sqlite_url(database)) as ledger:
            late = row("late", finding("nudenet", "BUTTOCKS_EXPOSED", 0.61))
            record(ledger, [late], storage=LOCAL, action=None)
        return True

    monkeypatch.setattr("lemmy_safety.cli.commands.review.at_a_terminal", someone)
    assert call("review", "clear", "--label", "BUTTOCKS_EXPOSED", stdin="y\n").exit_code == 0
    assert set(decided(database)) == {"low", "middle", "there"}


def test_the_same_bytes_elsewhere_are_settled_with_them(call, database):
    """A decision is about bytes, also when a filter chose them."""
    with open_ledger(sqlite_url(database)) as ledger:
        record(ledger, [row("copy", finding("nudenet", "BUTTOCKS_EXPOSED", 0.61), content="low")], storage=ELSEWHERE)
    assert call("review", "clear", "--detector", "nudenet", "--score-below", "0.615", "--yes").exit_code == 0
    assert decided(database) == {"low": "cleared", "copy": "cleared"}


def test_a_key_that_was_not_named_is_shown_with_the_reason(call, database):
    """A person who names one key sees why two are settled."""
    with open_ledger(sqlite_url(database)) as ledger:
        record(ledger, [row("copy", finding("nudenet", "BUTTOCKS_EXPOSED", 0.61), content="low")], storage=ELSEWHERE)
    shown = call("review", "clear", "low").stdout.splitlines()
    assert [line.endswith("(the same bytes)") for line in shown if " low " in f"{line} "] == [False]
    assert [line.endswith("(the same bytes)") for line in shown if "copy" in line] == [True]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_command_that_is_killed_goes_on_where_it_was(database):
    """4,000 flags: what was settled stays so, nothing else was, and the next command settles the rest."""
    many = [row(f"many/{number:05}", finding("nudenet", "ANUS_EXPOSED", 0.93)) for number in range(4000)]
    with open_ledger(sqlite_url(database)) as ledger:
        record(ledger, many, storage=LOCAL, action=None)
    command = [sys.executable, "-m", "lemmy_safety", "review", "clear", "--label", "ANUS_EXPOSED", "--yes"]
    process = subprocess.Popen(command, cwd=database.parent, env=dict(os.environ), stderr=subprocess.DEVNULL)
    eventually(lambda: decided(database), "the first piece is settled", process=process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    half = decided(database)
    assert 500 <= len(half) <= 4001
    subprocess.run(command, cwd=database.parent, env=dict(os.environ), capture_output=True, check=True)
    done = decided(database)
    assert half.items() <= done.items()
    assert len(done) == 4001


def test_what_asks_for_a_decision_on_each_is_not_confirmed_with_others(call, database):
    """Its removal takes other people's uploads along, so that a person has to name it."""
    with open_ledger(sqlite_url(database)) as ledger:
        record(
            ledger,
            [row("asks", finding("clip", "csam", 1.0)), row("goes", finding("clip", "csam", 1.0))],
            storage=LOCAL,
        )
        (asking,) = (one for one in ledger.actions.unfinished(LOCAL) if one.obj.key == "asks")
        ledger.actions.postpone(asking.id, "7 aliases would go", asks=True)
    done = call("review", "confirm", "--detector", "clip", "--yes")
    assert "1 object left out: a person has to decide about each." in done.stderr
    assert decided(database) == {"clip": "confirmed", "goes": "confirmed"}
    assert call("review", "confirm", "asks").exit_code == 0
    assert decided(database)["asks"] == "confirmed"


def test_what_asks_can_be_cleared_with_others(call, database):
    with open_ledger(sqlite_url(database)) as ledger:
        record(ledger, [row("asks", finding("clip", "csam", 1.0))], storage=LOCAL)
        (asking,) = ledger.actions.unfinished(LOCAL)
        ledger.actions.postpone(asking.id, "7 aliases would go", asks=True)
    assert call("review", "clear", "--detector", "clip", "--yes").exit_code == 0
    assert decided(database) == {"clip": "cleared", "asks": "cleared"}
