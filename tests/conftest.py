"""What every test gets: no settings of the person who runs it, and real servers on demand."""

from __future__ import annotations

import functools
import os
import signal
import sys
from typing import TYPE_CHECKING

import botocore.session
import hypothesis
import pytest
from support.examples import QUICK
from support.needs import ProgramsSeen, imports_torch, left_out, marks_of
from support.servers.s3 import running
from support.servers.swift import SwiftServer, SwiftUnavailable
from support.servers.versitygw import Versitygw, VersitygwUnavailable

from lemmy_safety.foreign import keep_secret
from lemmy_safety.settings import ENV_PREFIX, OPTIONS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

# How long an example takes says something of the machine, and nothing of what is tested.
hypothesis.settings.register_profile("suite", deadline=None)
hypothesis.settings.register_profile(QUICK, deadline=None, max_examples=20)
hypothesis.settings.load_profile("suite")

#: Every setting's names; the ancestor's, and those that S3 clients know, have no prefix of ours.
_NAMES = {name for item in OPTIONS.values() for name in item.env}


_programs = ProgramsSeen()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where tests of models are left out, torch is not imported for them."""
    return (left_out("model", config.option.markexpr) and imports_torch(collection_path)) or None


def pytest_collection_finish(session: pytest.Session) -> None:
    """So that this stays so."""
    if left_out("model", session.config.option.markexpr) and "torch" in sys.modules:
        raise pytest.UsageError("a file of the tests imports torch; name it in WITH_TORCH in tests/support/needs.py")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark each test by what its code uses."""
    fixtures = item._fixtureinfo.name2fixturedefs
    code = [item.function, *(definition.func for name in item.fixturenames for definition in fixtures.get(name, ()))]
    for mark in sorted(marks_of(code)):
        item.add_marker(mark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Where tests that start programs are left out, as by `make quick`, one that does so all the same fails."""
    _programs.seen.clear()
    _programs.watching = left_out("process", item.config.option.markexpr)
    try:
        yield
    finally:
        _programs.watching = False
    assert not _programs.seen, f"it starts programs; put @needs('process') on what starts them: {_programs.seen}"


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start each test in an empty folder (so that no .env is found) and without any of our settings."""
    for name in list(os.environ):
        if name.startswith((ENV_PREFIX, "AWS_")) or name in _NAMES:
            monkeypatch.delenv(name)
    # boto3 must find neither the person's AWS profile nor a cloud machine's role.
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _nobodys_secrets() -> Iterator[None]:
    """The command line tells them to the whole process; in this one the next test has others."""
    yield
    keep_secret(())


@pytest.fixture(autouse=True)
def _a_hangup_counts() -> Iterator[None]:
    """Child processes inherit it where it is ignored: under nohup the tests would see that, and not what they ask for."""
    if not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


@pytest.fixture(scope="session", autouse=True)
def _boto3_reads_its_files_once() -> Iterator[None]:
    """Each client reads a megabyte of JSON that describes S3, which takes 0.1 s; tests make thousands of clients."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", functools.cache(botocore.session.create_loader))
        yield


@pytest.fixture(scope="session")
def swift() -> Iterator[SwiftServer]:
    """One real S3 server for the session, started when first asked for."""
    yield from running(SwiftServer, "Swift", SwiftUnavailable)


@pytest.fixture(scope="session")
def versitygw() -> Iterator[Versitygw]:
    """Another one, which keeps objects as files in folders."""
    yield from running(Versitygw, "versitygw", VersitygwUnavailable)


@pytest.fixture
def bucket(swift: SwiftServer) -> str:
    """A new, empty bucket."""
    return swift.new_bucket()
