"""``lemmy-safety picture`` without a pict-rs: what is said when a key alone does not lead to the picture."""

from __future__ import annotations

from lemmy_safety.errors import PictureUnknown


def test_a_key_of_an_older_form_leads_to_the_ways_that_work(call, store):
    """Nothing is asked over HTTP then, so no server runs here. The answer names what to give or to set instead."""
    env = {"PICTRS_URL": "http://127.0.0.1:9", "PICTRS_API_KEY": "key-of-pictrs"}
    result = call("picture", "00/00100.jpg", env=env)
    assert result.exit_code == PictureUnknown.exit_code
    assert "not of the form that pict-rs gives since 0.5.7" in result.stderr
    assert "Give an alias" in result.stderr
    assert "PICTRS_DATABASE_URL" in result.stderr
    assert "key-of-pictrs" not in result.output
