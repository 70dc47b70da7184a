"""The one exception tree. Every class has its own exit code and a hint that says how to fix it.

::

    LemmySafetyError                 1
      SettingsError                  3   MissingExtra 4
      StorageError                  10
        StorageUnreachable          11   (passing: a retry can help)
        AccessDenied                12
        LoginRefused                13
        StorageMissing              14   (no bucket, no folder)
        HostUnknown                 15   (name does not resolve)
        HostKeyUnknown              16   HostKeyChanged 17
        PrivateKeyError             18   (missing file, passphrase missing or wrong)
        BadKey                      19
        ObjectGone                  20
        ObjectChanged               21
        ObjectTooLarge              22
        ListingIncomplete           23   (everything else was listed)
        WrongFolder                 24   (above or inside the folder that is meant)
        ObjectsUnchecked            25   (some could not be read or judged; all others were)
        StorageFull                 26   (no room for what should be written)
      MediaError                    30   (item statuses; ends no run)
      DetectorError                 40
        WeightsMissing              41   WeightsInvalid 42
        DeviceError                 43
      LedgerError                   50
        LedgerTooNew                51   LedgerLocked 52   LedgerReadOnly 53   LedgerFull 54
        LedgerDamaged               55   LedgerReplaced 56
        PassRunning                 57   (another pass has the storage)
        LedgerNoLocks               58   (a file system on which SQLite cannot work)
      ActionRefused                 60
      OutputFailed                  61
      WorkerDied                    70
      PictrsError                   80
        PictrsUnreachable           81   (passing: a retry can help)
        PictrsLoginRefused          82
        NotPictrs                   83   (another service answers)
        PictrsReadOnly              84
        PictrsTooOld                85   (it cannot answer this)
        PictrsTablesUnknown         86   (its database is of another version)
        PictrsElsewhere             87   (it does not write to this storage)
        PictureUnknown              88
        PictrsNotForwarded          89   (the SSH server does not let us through)

Vendor errors become one of these at the edge of the room that imports the vendor's library. Messages name what is
wrong and where; they never hold a credential. A person sees ``message`` and ``hint``; ``--debug`` adds the traceback.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from lemmy_safety.installing import (
    how_to_install,
    how_to_install_again,
    how_to_install_all_again,
    how_to_install_extra,
)
from lemmy_safety.url_logins import hide_logins

if TYPE_CHECKING:
    from lemmy_safety.records import ItemStatus


class LemmySafetyError(Exception):
    """Base of all expected errors. ``hint`` says how to fix it; an instance may replace its class's hint.

    The message hides logins in URLs, because its text can come from a vendor's library.

    ``lasting``: it stays until a person fixes something, so a restart only repeats it.
    """

    exit_code: ClassVar[int] = 1
    lasting: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        message = hide_logins(message)
        super().__init__(message)
        self.message = message
        self.hint = self.default_hint if hint is None else hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".rstrip()


class SettingsError(LemmySafetyError):
    """A setting is missing, unknown, out of range, or contradicts another."""

    exit_code = 3
    lasting = True
    default_hint = "Run 'lemmy-safety doctor' to see all settings faults at once."


class MissingExtra(LemmySafetyError):
    """A package that is needed is not installed, or damaged (``damaged``).

    The package belongs to one of our extras (``extra``). With ``package``, its distribution's name, it is one that the
    program always needs, directly or indirectly.
    """

    exit_code = 4
    lasting = True

    def __init__(
        self,
        extra: str = "",
        *,
        needed_for: str = "",
        package: str = "",
        cause: str = "",
        damaged: bool = False,
        hint: str | None = None,
    ) -> None:
        detail = f" ({cause})" if cause else ""
        self.damaged = damaged
        self.package = package
        if package:
            what = f"not installed {'completely' if damaged else 'here'}{detail}"
            super().__init__(
                f"{needed_for} needs {package}, which is {what}." if needed_for else f"{package} is {what}.",
                hint=hint or (how_to_install_again(package) if damaged else how_to_install(package)),
            )
            return
        what = "damaged here" if damaged else "not installed"
        super().__init__(
            f"{needed_for} needs packages that are {what}{detail}.",
            hint=hint or (how_to_install_all_again(extra) if damaged else how_to_install_extra(extra)),
        )


class StorageError(LemmySafetyError):
    """Any other failure of a storage."""

    exit_code = 10
    default_hint = "Run 'lemmy-safety doctor' to check the storage step by step."


class StorageUnreachable(StorageError):
    """The storage cannot be reached or broke off: refused, timed out, 5xx. A later try can succeed."""

    exit_code = 11
    default_hint = "Check that the server is up and that host, port and endpoint are right."


class AccessDenied(StorageError):
    """The account exists, but may not do this."""

    exit_code = 12
    default_hint = "Give the account read and delete permission on the pict-rs files."


class LoginRefused(StorageError):
    """Wrong key, secret, user or private key."""

    exit_code = 13
    lasting = True


class StorageMissing(StorageError):
    """The bucket or folder does not exist."""

    exit_code = 14
    lasting = True


class HostUnknown(StorageError):
    """The host name does not resolve."""

    exit_code = 15
    default_hint = "Check the spelling of the host name."


class HostKeyUnknown(StorageError):
    """The SSH server's key is in no known_hosts file; it is never trusted silently."""

    exit_code = 16
    lasting = True


class HostKeyChanged(StorageError):
    """The SSH server's key is not the one in known_hosts."""

    exit_code = 17
    lasting = True


class PrivateKeyError(StorageError):
    """The SSH private key cannot be used: no such file, not a key, passphrase missing or wrong."""

    exit_code = 18
    lasting = True


class BadKey(StorageError):
    """A key that would leave the storage's root, or that this storage cannot hold."""

    exit_code = 19


class ObjectGone(StorageError):
    """The object does not exist (any more)."""

    exit_code = 20


class ObjectChanged(StorageError):
    """The object is no longer the one that was judged; nothing was done to it."""

    exit_code = 21


def is_about_one_object(error: StorageError) -> bool:
    """Whether the rest of the storage may be fine: gone, denied, an impossible key, no room for it, or an unclassified
    answer.
    """
    about_one = (StorageError, AccessDenied, BadKey, ObjectGone, ObjectChanged, ObjectTooLarge, StorageFull)
    return type(error) in about_one


class ObjectTooLarge(StorageError):
    """The object holds more bytes than the caller allows; nothing beyond the limit was kept."""

    exit_code = 22


class ListingIncomplete(StorageError):
    """Some objects could not be listed; everything else was. Raised at the end, so that the pass does not count as complete."""

    exit_code = 23
    default_hint = "All that was listed has been checked; the next pass tries the rest again."


class WrongFolder(StorageError):
    """The folder lies above or inside pict-rs's ``files`` folder, or is the system's. There are files that no pass may touch."""

    exit_code = 24
    lasting = True
    default_hint = "Set PICTRS_FILES_DIRECTORY to the folder that store.path names in pict-rs's own configuration."


class ObjectsUnchecked(StorageError):
    """Some objects could not be read or judged in this pass; all others were. The next pass tries them again."""

    exit_code = 25
    default_hint = "See them, and why: lemmy-safety unreadable. Fix the cause. Then read them again: lemmy-safety recheck --unreadable"


class StorageFull(StorageError):
    """The storage has no room left for what has to be written. Listing, reading and deleting still work."""

    exit_code = 26
    default_hint = "Free some space on the disk or in the quota of the storage; then run this again."


class MediaError(LemmySafetyError):
    """One medium could not be turned into frames. Carries the item status; never ends a run, never a verdict.

    ``decoder_broke``: the decoder crashed, hung or ran out of memory, so the file's content is unknown.
    """

    exit_code = 30

    def __init__(self, status: ItemStatus, reason: str, *, decoder_broke: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.decoder_broke = decoder_broke


class DetectorError(LemmySafetyError):
    """A detector cannot be opened or failed on a batch."""

    exit_code = 40


class WeightsMissing(DetectorError):
    """Model weights are not on this machine and cannot be fetched."""

    exit_code = 41
    lasting = True


class WeightsInvalid(DetectorError):
    """A weights file is damaged or belongs to another model."""

    exit_code = 42
    lasting = True


class DeviceError(DetectorError):
    """The chosen device does not exist, or ran out of memory with the smallest batch."""

    exit_code = 43


class LedgerError(LemmySafetyError):
    """Any other failure of the database; also: there is no database yet, or a key is not in it."""

    exit_code = 50


class LedgerTooNew(LedgerError):
    """The database was made by a newer version."""

    exit_code = 51
    lasting = True
    default_hint = (
        "Install the newer lemmy-safety again, or go back to the copy made before its upgrade (docs/upgrading.md)."
    )


class LedgerLocked(LedgerError):
    """Another process holds the database."""

    exit_code = 52
    default_hint = "Stop the other lemmy-safety (or the program that has the file open) and try again."


class LedgerReadOnly(LedgerError):
    """The database file or its folder cannot be written."""

    exit_code = 53
    lasting = True
    default_hint = "Give this user write permission on the database file and its folder, or set SQLITE_FILENAME."


class LedgerFull(LedgerError):
    """The disk that holds the database is full."""

    exit_code = 54
    default_hint = "Free some disk space; nothing is deleted from the storage while verdicts cannot be recorded."


class LedgerDamaged(LedgerError):
    """The file is not a database, or is one of another program, or tables or columns of it are missing."""

    exit_code = 55
    lasting = True
    default_hint = (
        "If SQLITE_FILENAME names another file by mistake, correct it. Else put a backup in its place, or set "
        "SQLITE_FILENAME to a new file name; then everything is judged again."
    )


class LedgerReplaced(LedgerError):
    """The database in use was deleted, moved, emptied or replaced; what is written to it now would be lost."""

    exit_code = 56
    default_hint = (
        "If the file was moved by mistake, put it back first. Then start again; a service manager does that by itself."
    )


class PassRunning(LedgerError):
    """Another pass over the same storage is running with this database, or took over from this one."""

    exit_code = 57
    default_hint = "Wait until the other pass has ended, or stop it, and try again."

    def __init__(self, message: str, *, kind: str = "", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind
        """The kind of the other pass (``sweep``, ``daemon``); empty if unknown."""


class LedgerNoLocks(LedgerError):
    """The SQLite database lies on a file system without the locks or the shared memory that SQLite needs."""

    exit_code = 58
    lasting = True
    default_hint = (
        "Put the database on a local disk of this machine (SQLITE_FILENAME), not on a network mount or a shared folder, "
        "or use PostgreSQL (DATABASE_URL)."
    )


class ActionRefused(LemmySafetyError):
    """A destructive command was not confirmed, or cannot be carried out safely."""

    exit_code = 60


class OutputFailed(LemmySafetyError):
    """Something could not be written to stdout or stderr, such as to a closed pipe or a full disk."""

    exit_code = 61
    default_hint = "If the command deletes or records, that is done: see 'lemmy-safety flagged --all'."


class BreakerTripped(LemmySafetyError):
    """The circuit breaker tripped: more was to be deleted than the limits allow without a person. Nothing more is deleted."""

    exit_code = 62
    default_hint = (
        "See what waits: lemmy-safety flagged. Keep false positives: lemmy-safety review clear KEY. Then approve the rest: "
        "lemmy-safety resume"
    )


class WorkerDied(LemmySafetyError):
    """A worker of the pipeline ended with an unexpected error; the run stops with that error as its cause."""

    exit_code = 70
    default_hint = "Run again with --debug for the traceback; what was checked before is recorded."


class PictrsError(LemmySafetyError):
    """Any other failure of pict-rs's own interfaces, such as its status 500."""

    exit_code = 80
    default_hint = "See pict-rs's own log; 'lemmy-safety doctor' checks its interfaces step by step."


class PictrsUnreachable(PictrsError):
    """pict-rs, or its database, cannot be reached or broke off. A later try can succeed."""

    exit_code = 81
    default_hint = (
        "Check that pict-rs is up and that PICTRS_URL is its address as seen from this machine, or with PICTRS_VIA_SSH as "
        "seen from the SSH server. Lemmy's compose files do not publish pict-rs's port (docs/operations.md)."
    )


class PictrsLoginRefused(PictrsError):
    """The API key, or the login of pict-rs's database, is wrong."""

    exit_code = 82
    lasting = True
    default_hint = (
        "Set PICTRS_API_KEY to the value that pict-rs has as PICTRS__SERVER__API_KEY or server.api_key. A pict-rs "
        "without a key refuses every key."
    )


class NotPictrs(PictrsError):
    """Another service answers at the address of PICTRS_URL."""

    exit_code = 83
    lasting = True
    default_hint = "Set PICTRS_URL to the address of pict-rs itself (port 8080 by default), not to that of Lemmy or of a proxy before it."


class PictrsReadOnly(PictrsError):
    """pict-rs is in read-only mode and removes nothing."""

    exit_code = 84
    default_hint = "End its read-only mode (PICTRS__SERVER__READ_ONLY, server.read_only) and start it again."


class PictrsTooOld(PictrsError):
    """Only a newer pict-rs can answer that."""

    exit_code = 85
    lasting = True
    default_hint = "Upgrade pict-rs; Lemmy's own compose files use version 0.5."


class PictrsTablesUnknown(PictrsError):
    """The database of PICTRS_DATABASE_URL does not have the tables of pict-rs that this version knows (schema 14 and 15)."""

    exit_code = 86
    lasting = True
    default_hint = (
        "Set PICTRS_DATABASE_URL to the database that pict-rs names in repo.url, not to Lemmy's. With a pict-rs that is "
        "newer than this program, leave it out."
    )


class PictrsElsewhere(PictrsError):
    """The pict-rs at PICTRS_URL does not write to the storage of these settings."""

    exit_code = 87
    lasting = True
    default_hint = "Set PICTRS_URL and the storage to those of the same pict-rs."


class PictureUnknown(PictrsError):
    """pict-rs has no such picture, or it could not be found with the interfaces that are set."""

    exit_code = 88
    default_hint = ""


class PictrsNotForwarded(PictrsError):
    """PICTRS_VIA_SSH is set, and the SSH server does not forward connections to pict-rs or its database."""

    exit_code = 89
    lasting = True
    default_hint = "Allow it in the SSH server's sshd_config (docs/operations.md, section pict-rs)."
