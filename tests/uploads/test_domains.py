"""The hook refuses what is flagged in the domains that the policy names, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib

import pytest
from support.ledger.created import new_ledger
from support.web.engine import in_service

from lemmy_safety.detectors.hashes.canary import canary_png
from lemmy_safety.detectors.hashes.detector import HashesDetector
from lemmy_safety.policy import Effect, Policy, Rule
from lemmy_safety.records import Domain
from lemmy_safety.uploads.records import AnswerKind, Upload


@pytest.mark.parametrize(
    ("domain", "acts_in", "answer"),
    [
        ("csam", {Domain.CSAM}, AnswerKind.REFUSED),
        ("violence", {Domain.CSAM}, AnswerKind.ACCEPTED),
        ("csam", set(), AnswerKind.ACCEPTED),
        ("violence", {"violence"}, AnswerKind.REFUSED),
    ],
)
def test_an_upload_is_refused_in_the_domains_that_are_named(tmp_path, domain, acts_in, answer):
    """The canary, by policies that have it in one domain or another."""
    policy = Policy({("hashes", "canary"): Rule(frozenset({Effect.FLAG}), domain)}, frozenset(acts_in))
    data = canary_png()
    sha256 = hashlib.sha256(data).hexdigest()

    async def story(validator, _decoder):
        await validator.load()
        upload = Upload(data=data, size=len(data), sha256=sha256, media_type="image/png", free=lambda: None)
        decision = await validator.validate(upload, deadline=asyncio.get_running_loop().time() + 30)
        assert decision.kind is answer

    in_service(tmp_path, HashesDetector(), story, policy=policy)
    with new_ledger(tmp_path / "hook.db") as ledger:
        assert ledger.uploads.get(sha256).assessment.verdict.outcomes[domain] == "flagged"
