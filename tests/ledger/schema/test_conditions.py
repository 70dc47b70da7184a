"""Which flags may lead to an action, by the text of their outcomes: exact, whatever domains are named beside them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import literal, select

from lemmy_safety.ledger import open_ledger, sqlite_url
from lemmy_safety.ledger.schema.columns import JsonText
from lemmy_safety.ledger.schema.conditions import may_act
from lemmy_safety.records import DOMAIN_NAME, Domain, Outcome, Verdict

#: Few letters, so that one name is often the beginning, the end or a pattern of another.
NAMES = st.from_regex(r"[ab][ab_-]{0,3}", fullmatch=True)
ALIKE = {
    "the end of another": {"nsfw-csam": Outcome.FLAGGED, "csam": Outcome.CLEAR},
    "the beginning of another": {"csam-drawn": Outcome.FLAGGED, "csam": Outcome.BORDERLINE},
    "a pattern that another fits": {"csxm": Outcome.FLAGGED, "cs_m": Outcome.CLEAR},
    "the only one": {"csam": Outcome.FLAGGED},
    "the last of many": {"violence": Outcome.CLEAR, "hate": Outcome.FLAGGED, "csam": Outcome.FLAGGED},
}


def ask(ledger, outcomes, domains) -> bool:
    """What the database says of outcomes that are written as a row's are."""
    row = select(literal(outcomes, JsonText()).label("outcomes")).subquery()
    with ledger.database.reading() as connection:
        return bool(connection.execute(select(may_act(row.c.outcomes, domains))).scalar_one())


def is_flagged_in(outcomes, domains) -> bool:
    return any(outcomes.get(domain) is Outcome.FLAGGED for domain in domains)


@pytest.mark.parametrize("outcomes", ALIKE.values(), ids=ALIKE)
@pytest.mark.parametrize("domains", [("csam",), ("cs_m",), ("csam", "hate"), ("nsfw",)], ids=str)
def test_a_domain_is_not_taken_for_one_with_a_like_name(ledger, outcomes, domains) -> None:
    """On SQLite and on PostgreSQL."""
    assert ask(ledger, outcomes, domains) == is_flagged_in(outcomes, domains)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One SQLite database for all examples; nothing is written to it."""
    with open_ledger(sqlite_url(tmp_path_factory.mktemp("conditions") / "ledger.db")) as opened:
        yield opened


@given(st.dictionaries(NAMES, st.sampled_from(Outcome), min_size=1, max_size=4), st.sets(NAMES, min_size=1, max_size=3))
@example({"aab": Outcome.FLAGGED}, {"a_b"})
@example({"ba": Outcome.FLAGGED, "a": Outcome.CLEAR}, {"a"})
@settings(deadline=None)
def test_exactly_flags_in_the_domains_that_are_asked_for_may_act(shared, outcomes, domains) -> None:
    """Whatever the names have in common."""
    assert ask(shared, outcomes, sorted(domains)) == is_flagged_in(outcomes, domains)


@pytest.mark.parametrize("name", ['x"csam', 'csam":"flagged', "CSAM", "cs%m", "csäm", "cs\\m", ""])
def test_no_name_that_would_be_misread_gets_into_a_verdict(name) -> None:
    """So the ledger is handed none: quotes end a name in the text, and SQLite takes capitals for small letters."""
    with pytest.raises(ValueError, match="domain"):
        Verdict(outcome=Outcome.FLAGGED, nsfw=None, findings=(), rules_version="1", outcomes={name: Outcome.FLAGGED})


def test_the_domains_of_this_version_have_such_names() -> None:
    """The search relies on it."""
    assert all(DOMAIN_NAME.fullmatch(domain.value) for domain in Domain)
