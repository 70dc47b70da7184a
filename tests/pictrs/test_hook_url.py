"""The line that tells an admin what pict-rs needs."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lemmy_safety.pictrs.hook_url import pictrs_setting

PORTS = st.integers(1, 65535)


def url_in(line: str) -> str:
    return re.search(r"PICTRS__MEDIA__EXTERNAL_VALIDATION=(\S+)", line)[1]


@given(st.ip_addresses().filter(lambda address: not address.is_unspecified), PORTS, st.booleans())
def test_the_url_has_the_address_and_never_a_name(address, port, secret):
    """Every address that a socket can listen on comes back out of the URL, also an IPv6 one."""
    url = urlsplit(url_in(pictrs_setting(str(address), port, secret=secret)))
    assert ipaddress.ip_address(url.hostname) == address
    assert url.port == port
    assert url.path == ("/validate/<HOOK_SECRET>" if secret else "/validate")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_a_hook_that_listens_everywhere_asks_for_an_address_to_be_filled_in(host):
    """0.0.0.0 is no address that another container could reach."""
    line = pictrs_setting(host, 14051, secret=True)
    assert "http://<IP address of this machine>:14051/validate/<HOOK_SECRET>" in line
    assert host not in line
