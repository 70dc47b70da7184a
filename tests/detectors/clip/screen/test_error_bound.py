"""The bound on an encoder's errors as it is kept on disk."""

import json

import pytest

from lemmy_safety.detectors.clip.screen.error_bound import ErrorBound, ErrorBoundFile


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"identity": {}}', '{"identity": "IDENTITY", "largest": NaN}', '{"identity": "IDENTITY"}'],
)
def test_a_damaged_bound_is_measured_again(tmp_path, content):
    """Anything but the numbers for just this encoder is no bound."""
    file = ErrorBoundFile(tmp_path, {"encoder": "x"})
    bound = ErrorBound(largest=0.001, checked=3, cost=0.1)
    file.write(bound)
    assert file.read() == bound
    identity = json.dumps(json.loads(file.path.read_text("utf-8"))["identity"])
    file.path.write_text(content.replace('"IDENTITY"', identity), encoding="utf-8")

    assert file.read() is None
    file.write(bound)
    assert file.read() == bound
    assert [path.name for path in tmp_path.iterdir()] == [file.path.name]


def test_a_bound_that_cannot_be_kept_is_told_and_no_error(tmp_path, caplog):
    """The next start measures again; this one goes on."""
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    ErrorBoundFile(tmp_path / "file", {}).write(ErrorBound(largest=0.1, checked=0, cost=1))
    assert "cannot be kept" in caplog.text
