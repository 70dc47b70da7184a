"""What is flagged in a domain that leads to no action is recorded in a pass, and left alone."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from support.scan.passes import keys_in, scanner_over
from support.scan.scanned_store import CANARIES, SWEEP

from lemmy_safety.ledger.schema.tables import images
from lemmy_safety.policy import Effect, Policy, Rule
from lemmy_safety.records import Outcome

FLAG = frozenset({Effect.FLAG})


@pytest.mark.parametrize(("domain", "deleted"), [("csam", CANARIES), ("violence", set())])
def test_only_what_is_flagged_in_a_domain_that_is_named_is_deleted(store, database, domain, deleted):
    """The canary, by a policy that acts on csam and has it in one domain or the other."""
    before = keys_in(store)
    policy = Policy({("hashes", "canary"): Rule(FLAG, domain), ("hashes", "pdq-list"): Rule(FLAG, "hate")})
    with scanner_over(store, database, policy=policy) as scanner:
        summary = scanner.run(SWEEP)
        listed = {row.key for row in scanner.ledger.reviews.flagged(include_settled=True)}
        with scanner.ledger.database.reading() as connection:
            rows = {row.key: row.outcomes for row in connection.execute(select(images)) if row.key in CANARIES}
    assert (summary.flagged, summary.acted) == (len(deleted), len(deleted))
    assert before - keys_in(store) == listed == deleted
    outcomes = {"csam": Outcome.CLEAR, "hate": Outcome.CLEAR, domain: Outcome.FLAGGED}
    assert list(rows.values()) == [outcomes, outcomes]
