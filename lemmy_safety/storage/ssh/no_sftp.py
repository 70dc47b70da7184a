"""Why a reachable server opens no SFTP session: turns its output and the session's end into one clear error.

sshd first agrees to the subsystem and then starts the program. A missing program, an account without a shell, an
expired password and a start-up file that prints something all look like a session that ends or sends nonsense.
Waiting does not help in any of these cases.
"""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

from lemmy_safety.errors import StorageError, StorageUnreachable
from lemmy_safety.foreign import foreign
from lemmy_safety.storage.ssh.errors import CONNECTION_ERRORS
from lemmy_safety.storage.ssh.link import deadline
from lemmy_safety.storage.ssh.login import close_quietly

if TYPE_CHECKING:
    import paramiko

    from lemmy_safety.storage.ssh.link import Link
    from lemmy_safety.storage.ssh.sftp_wire import SftpBroken

#: The program has ended or has already sent something; its status and last output follow at once.
_LAST_WORDS_S = 2.0

#: A sentence or two; a message of the day may be pages.
_MOST_WORDS = 200

_MOST_BYTES = 4096

#: The exit status of sshd's session if /etc/nologin (or /run/nologin) exists (session.c, do_nologin): the machine is
#: about
#: to shut down, or is under maintenance.
_NOLOGIN_STATUS = 254

#: A shell's exit statuses for a program that it cannot find, or may not run (POSIX, Shell Command Language, 2.8.2).
_NO_PROGRAM = (126, 127)

_SWITCH_ON = "Switch it on in sshd_config: Subsystem sftp internal-sftp"

_UNREADABLE = re.compile(r"[^\t\n\r\x20-\x7e\u00a0-\ufffc]")

#: The wording of sshd and of passwd.
_PASSWORD_RAN_OUT = ("password has expired", "password change required", "change your password")


def refused(where: str, error: BaseException) -> StorageError:
    """sshd_config has no line for the subsystem."""
    return StorageError(f"The SSH server {where} does not offer SFTP: {foreign(error)}", hint=_SWITCH_ON)


def no_channels(where: str) -> StorageError:
    """The server does not allow a single session even on a new connection."""
    return StorageError(
        f"The SSH server {where} accepts the login, but allows no session at all.",
        hint="Set MaxSessions in sshd_config to 1 or more (10 is usual), also in its Match blocks.",
    )


def ended(where: str, link: Link, channel: paramiko.Channel, error: SftpBroken) -> StorageError | None:
    """Our error for a session that sent no SFTP at all; None if a broken connection could also explain that.

    A killed program leaves no exit status, and then the server's settings are not at fault.
    """
    output, _, status = _last_words(channel, error.received)
    if not output and status is None:
        return None
    words = _in_words(output)
    if not words and status not in (0, *_NO_PROGRAM):
        words = _complaint(link, channel)
    said = f" The server says: {_shown(words)!r}." if words else ""
    if status == _NOLOGIN_STATUS:
        return StorageUnreachable(
            f"The SSH server {where} takes no logins for now.{said}",
            hint="Remove /etc/nologin or /run/nologin there once its maintenance is over.",
        )
    if any(sign in words.lower() for sign in _PASSWORD_RAN_OUT):
        return StorageError(
            f"The password of the account {where} has run out, so that it can do nothing but change it.{said}",
            hint="Set a new one on the server (passwd USER), or take the limit off (chage -M -1 USER).",
        )
    ending = "" if status is None else f" (exit status {status})"
    return StorageError(f"The SSH server {where} does not offer SFTP{ending}.{said}", hint=_hint(output, status))


def _hint(output: bytes, status: int | None) -> str:
    if status in _NO_PROGRAM:
        return f"The program of its line Subsystem sftp is missing or cannot run. {_SWITCH_ON}"
    if output:
        return (
            "Before SFTP nothing may be printed: remove such lines from the account's .bashrc, .profile or ForceCommand, or "
            "give an account without a shell ForceCommand internal-sftp."
        )
    return (
        "Look at the Subsystem, ForceCommand and ChrootDirectory lines of sshd_config (the folders of ChrootDirectory must "
        "belong to root alone), and at the server's log. The simplest that works: Subsystem sftp internal-sftp"
    )


def _complaint(link: Link, channel: paramiko.Channel) -> str:
    """What the account gets instead of a shell. sshd drops a subsystem's stderr, but not a command's."""
    close_quietly(channel)
    with contextlib.suppress(*CONNECTION_ERRORS):
        other = link.open_channel()
        try:
            with deadline(other):
                other.exec_command(b"exit 0")
            output, complaints, status = _last_words(other, b"")
        finally:
            close_quietly(other)
        if status != 0:
            return _in_words(output) or _in_words(complaints)
    return ""


def _last_words(channel: paramiko.Channel, output: bytes) -> tuple[bytes, bytes, int | None]:
    """The session's remaining output, its stderr, and its exit status; within _LAST_WORDS_S."""
    until = time.monotonic() + _LAST_WORDS_S
    complaints = b""
    with contextlib.suppress(*CONNECTION_ERRORS):
        # SFTP after a greeting would wait for us for ever.
        channel.shutdown_write()
        while len(output) < _MOST_BYTES and (left := until - time.monotonic()) > 0:
            channel.settimeout(left)
            more = channel.recv(_MOST_BYTES)
            if not more:
                break
            output += more
        channel.settimeout(max(until - time.monotonic(), 0.01))
        complaints = channel.recv_stderr(_MOST_BYTES)
    channel.status_event.wait(max(until - time.monotonic(), 0.0))
    status = channel.exit_status
    return output, complaints, status if channel.status_event.is_set() and status >= 0 else None


def _in_words(said: bytes) -> str:
    """The readable beginning, in one line: SFTP packets may follow a greeting."""
    text = said.decode("utf-8", errors="replace")
    readable = _UNREADABLE.split(text, maxsplit=1)[0]
    return " ".join(readable.split())


def _shown(words: str) -> str:
    line = foreign(words)
    return line if len(line) <= _MOST_WORDS else line[:_MOST_WORDS] + "..."
