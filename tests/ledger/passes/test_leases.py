"""One pass per storage and database: who gets the lease, who is told no, and what a pass that lost it can still do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from support.ledger.lease_takers import lease_taker
from support.ledger.results import DECODER, DETECTORS, NOON, STORAGE, checked, flagged, record

from lemmy_safety.errors import LedgerError, PassRunning
from lemmy_safety.ledger import DAEMON, SWEEP, open_ledger
from lemmy_safety.ledger.passes import leases
from lemmy_safety.ledger.passes.processes import this_process
from lemmy_safety.ledger.schema.tables import leases as lease_rows
from lemmy_safety.records import ActionPlan, ActionState

OTHER = "local:/elsewhere"
PATIENCE_S = 60.0

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither SIGKILL nor SIGSTOP")


def change_row(ledger, **values) -> None:
    """What another process, or the time, would have done to the row of the lease."""
    with ledger.database.engine.begin() as connection:
        assert connection.execute(lease_rows.update().values(**values)).rowcount == 1


def age(ledger, seconds) -> None:
    """Make the last heartbeat older (or, below zero, of the future)."""
    with ledger.database.engine.begin() as connection:
        at = leases.database_now(connection) - timedelta(seconds=seconds)
        assert connection.execute(lease_rows.update().values(heartbeat_at=at)).rowcount == 1


def left_by(ledger, process, *, silent_s=0.0) -> None:
    """A lease that such a process holds, or has left behind."""
    with ledger.passes.lease(STORAGE, SWEEP), ledger.database.engine.begin() as connection:
        row = dict(connection.execute(lease_rows.select()).one()._mapping)
    row |= {
        "token": "another's",
        "machine": process.machine,
        "host": process.host,
        "pid": process.pid,
        "process_started": process.started,
    }
    with ledger.database.engine.begin() as connection:
        connection.execute(lease_rows.insert().values(row))
    age(ledger, silent_s)


def is_free(ledger) -> bool:
    try:
        with ledger.passes.lease(STORAGE, SWEEP):
            return True
    except PassRunning:
        return False


def test_a_second_pass_is_told_who_has_the_storage(shared_url) -> None:
    """Kind, machine, process and time; another storage is free, and so is this one when the first has ended."""
    with open_ledger(shared_url) as ledger, open_ledger(shared_url) as other:
        with ledger.passes.lease(STORAGE, SWEEP):
            with pytest.raises(PassRunning) as caught, other.passes.lease(STORAGE, DAEMON):
                pass
            with other.passes.lease(OTHER, SWEEP):
                pass
        assert caught.value.exit_code == 57
        assert caught.value.kind == SWEEP
        for part in (STORAGE, "sweep", this_process().host, f"process {os.getpid()}", "since 20", "UTC"):
            assert part in caught.value.message
        with other.passes.lease(STORAGE, DAEMON):
            pass


def test_a_pass_that_ends_with_an_error_gives_the_storage_back(shared_url) -> None:
    """Whatever ended it."""
    with open_ledger(shared_url) as ledger:
        with pytest.raises(RuntimeError), ledger.passes.lease(STORAGE, SWEEP):
            raise RuntimeError("planted")
        with open_ledger(shared_url) as other:
            assert is_free(other)


@posix_only
@pytest.mark.parametrize("reaped", [True, False], ids=["reaped", "zombie"])
def test_after_a_kill_the_same_machine_takes_the_storage_at_once(shared_url, reaped) -> None:
    """Also while no one has asked yet how the killed process ended."""
    with open_ledger(shared_url) as ledger, lease_taker(shared_url, STORAGE) as taker:
        assert taker.ask("take") == "taken"
        assert not is_free(ledger)
        taker.process.kill()
        if reaped:
            taker.process.wait()
        else:
            os.waitid(os.P_PID, taker.process.pid, os.WEXITED | os.WNOWAIT)
        assert is_free(ledger)


def test_of_two_processes_that_ask_at_the_same_time_one_wins(shared_url) -> None:
    """Over and over: exactly one, and the other is told who."""
    winners = set()
    with ExitStack() as stack:
        takers = [stack.enter_context(lease_taker(shared_url, STORAGE)) for _ in range(3)]
        for number in range(25):
            order = takers[number % 3 :] + takers[: number % 3]
            for taker in order:
                taker.tell("take")
            said = {taker: taker.heard() for taker in order}
            (winner,) = [taker for taker, word in said.items() if word == "taken"]
            for taker in takers:
                if taker is not winner:
                    assert f"process {winner.process.pid}," in said[taker]
            winners.add(takers.index(winner))
            assert winner.ask("release") == "released"
    assert winners <= {0, 1, 2}


@posix_only
def test_a_pass_that_slept_loses_the_storage_and_writes_nothing_more(shared_url) -> None:
    """A laptop that was closed: another pass took over meanwhile, and has even ended when the first one wakes up."""
    with open_ledger(shared_url) as ledger, lease_taker(shared_url, STORAGE) as taker:
        assert taker.ask("take") == "taken"
        assert taker.ask("write") == "written"
        os.kill(taker.process.pid, signal.SIGSTOP)
        assert not is_free(ledger)  # alive, and not silent for long enough
        age(ledger, leases.OVER_S + 1)
        assert is_free(ledger)
        os.kill(taker.process.pid, signal.SIGCONT)
        assert "lost its place" in taker.ask("write")
        assert taker.ask("write").startswith("refused")
        assert taker.ask("release") == "released"
        assert taker.ask("take") == "taken"  # from the beginning, that is another pass
        assert taker.ask("write") == "written"


@pytest.mark.parametrize(
    ("silent_s", "free"),
    [(0, False), (leases.OVER_S - 10, False), (leases.OVER_S + 1, True), (86_400, True), (-7200, True), (-10, False)],
)
def test_from_elsewhere_a_lease_is_over_when_the_heartbeat_is(shared_url, silent_s, free) -> None:
    """By the database's clock. A heartbeat of the future is one of before that clock was set back."""
    elsewhere = replace(this_process(), machine="another one")
    with open_ledger(shared_url) as ledger:
        left_by(ledger, elsewhere, silent_s=silent_s)
        assert is_free(ledger) is free


def test_the_machines_own_clock_does_not_matter(shared_url) -> None:
    """A machine whose clock is a year behind meets a heartbeat that is fresh by the database's clock."""
    with open_ledger(shared_url, clock=lambda: NOON - timedelta(days=365)) as ledger:
        left_by(ledger, replace(this_process(), machine="another one"))
        assert not is_free(ledger)


@pytest.mark.parametrize(
    ("what", "free"),
    [
        ({"started": 1.0}, True),  # the number was given to a new process
        ({"machine": "another container", "started": 1.0}, False),  # which may have the same host name and numbers
        ({"machine": "another container", "pid": 1}, False),
        ({"pid": 2**40}, True),  # no process can have this number
        ({}, True),  # this very process, which knows nothing of the lease
    ],
)
def test_process_numbers_are_used_again_and_repeat_in_containers(quick_ledger, what, free) -> None:
    """A number alone proves neither life nor death."""
    left_by(quick_ledger, replace(this_process(), **what))
    assert is_free(quick_ledger) is free


def test_a_process_that_lives_keeps_its_lease(quick_ledger) -> None:
    """Asked about by its number and start, such as the parent of this one; and a dead one loses it."""
    import psutil  # noqa: PLC0415

    from lemmy_safety.ledger.passes.processes import _start_of  # noqa: PLC0415

    parent = psutil.Process(os.getppid())
    left_by(quick_ledger, replace(this_process(), pid=parent.pid, started=_start_of(parent)))
    assert not is_free(quick_ledger)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    change_row(quick_ledger, pid=child.pid)
    assert is_free(quick_ledger)


def test_a_lost_lease_stops_every_write_of_the_pass(shared_url) -> None:
    """Verdicts, intents, outcomes, cursors, and the question whether an action is still wanted."""
    with open_ledger(shared_url) as ledger:
        (pending,) = record(ledger, [flagged("a")])
        run_id = ledger.passes.start(STORAGE, "sweep", dry_run=False, detectors=DETECTORS)
        writes = [
            lambda: ledger.objects.record(
                STORAGE, [checked("b")], run_id=run_id, dry_run=False, plan=ActionPlan("delete"), decoder=DECODER
            ),
            lambda: ledger.actions.intend(STORAGE, ["a"], ActionPlan("delete")),
            lambda: ledger.actions.finish(pending.id, ActionState.DONE),
            lambda: ledger.passes.set_cursor("scope", "watermark", NOON),
            lambda: ledger.uploads.settle_lost(NOON, storage=STORAGE),
            lambda: ledger.passes.finish(run_id, {}, complete=True),
            lambda: ledger.actions.is_intended(pending.id),
        ]
        with ledger.passes.lease(STORAGE, SWEEP) as lease:
            assert ledger.actions.is_intended(pending.id)
            change_row(ledger, token="another's")
            for write in writes:
                with pytest.raises(PassRunning):
                    write()
            assert lease.is_lost
            with pytest.raises(PassRunning):
                lease.check()
        for write in writes:  # by threads that the pass left behind
            with pytest.raises(PassRunning):
                write()
        assert ledger.maintenance.stats().objects == 1
        assert ledger.passes.cursor("scope", "watermark") is None
        age(ledger, leases.OVER_S + 1)
        with ledger.passes.lease(STORAGE, SWEEP):
            for write in writes:
                write()


def test_a_lost_lease_is_not_given_back(shared_url) -> None:
    """It is another's, who keeps it."""
    with open_ledger(shared_url) as ledger, open_ledger(shared_url) as other:
        with ledger.passes.lease(STORAGE, SWEEP):
            left = replace(this_process(), machine="another one")
            change_row(ledger, token="another's", machine=left.machine)
            with pytest.raises(PassRunning):
                ledger.maintenance.check_writable()
        assert not is_free(other)


@pytest.mark.long
def test_the_heartbeat_goes_on_by_itself_and_ends_with_the_pass(shared_url, monkeypatch) -> None:
    """One thread, which also notices without a write of the pass that the lease was lost."""
    monkeypatch.setattr(leases, "BEAT_S", 0.05)

    def beating():
        return [thread for thread in threading.enumerate() if thread.name == "heartbeat"]

    def wait_until(true) -> None:
        pause = threading.Event()
        for _ in range(int(PATIENCE_S / 0.05)):
            if true():
                return
            pause.wait(0.05)
        pytest.fail("not in time")

    with open_ledger(shared_url) as ledger, open_ledger(shared_url) as other:
        with ledger.passes.lease(STORAGE, SWEEP):
            age(other, leases.OVER_S - 5)
            with other.database.engine.connect() as connection:
                before = leases.holder(connection, STORAGE).silent_s

            def is_fresh():
                with other.database.engine.connect() as connection:
                    return leases.holder(connection, STORAGE).silent_s < before - 10

            wait_until(is_fresh)
            assert len(beating()) == 1
        wait_until(lambda: not beating())
        with ledger.passes.lease(STORAGE, SWEEP) as lease:
            change_row(other, token="another's")
            wait_until(lambda: lease.is_lost)
        wait_until(lambda: not beating())


def test_what_a_pass_could_not_give_back_is_its_processs_to_take(quick_ledger, monkeypatch) -> None:
    """The database was away when the pass ended; the next pass of the same daemon goes on."""
    real = leases.release

    def away(*_args):
        raise LedgerError("away")

    monkeypatch.setattr(leases, "release", away)
    with quick_ledger.passes.lease(STORAGE, DAEMON):
        pass
    monkeypatch.setattr(leases, "release", real)
    assert is_free(quick_ledger)


@pytest.mark.external_service
def test_a_pool_of_connections_is_as_good_as_a_server(pgbouncer, postgres) -> None:
    """Statements over and over, from several clients at a time, over three sessions that they share."""
    from support.servers.postgres import create_database  # noqa: PLC0415

    name = create_database(postgres, "pooled").rpartition("/")[2]
    url = f"{pgbouncer}/{name}"
    with open_ledger(url) as ledger, open_ledger(url) as other:
        failures = []

        def work(mine, letter):
            try:
                for number in range(12):
                    record(mine, [flagged(f"{letter}/{number}"), checked(f"{letter}/clear {number}")])
                    assert mine.objects.describe(STORAGE, f"{letter}/{number}") is not None
            except BaseException as error:  # noqa: BLE001 - handed to the test
                failures.append(error)

        threads = [
            threading.Thread(target=work, args=(mine, letter))
            for letter, mine in (("a", ledger), ("b", other), ("c", ledger), ("d", other))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        assert failures == []
        assert ledger.maintenance.stats().objects == 4 * 24
        with other.database.engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() == "0"  # others' sessions as well
