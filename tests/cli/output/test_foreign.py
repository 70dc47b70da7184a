"""Texts of libraries inside our messages."""

from __future__ import annotations

import os
import socket

import pytest

from lemmy_safety.foreign import foreign


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(2, os.strerror(2)),
        socket.gaierror(-2, "Name or service not known"),
        "host 'x': [Errno 101] Network is unreachable",
        "[WinError 10061] No connection could be made",
    ],
)
def test_the_number_of_an_error_of_the_system_is_left_out(error):
    """Its words say the same to a person."""
    said = foreign(error)
    assert "Err" not in said
    assert said[0].isalpha()
