"""How a server is reached over HTTP: through a proxy or directly, and how failures on the way are named."""

from __future__ import annotations

import re
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpx

from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.installing import how_to_install

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.proxies import Proxy

#: The status with which a proxy asks for a login.
PROXY_LOGIN: Final = 407

_STATUS = re.compile(r"[0-9]{3}\b")


class ServerTrouble(Exception):
    """The server cannot be reached, or its answer is unusable. It may recover later."""


def transport_by(proxy: Proxy | None) -> httpx.AsyncHTTPTransport:
    """How the server is reached. httpx must not read the variables itself: it mistakes IPv6 in ``NO_PROXY`` for an
    invalid URL.

    :raises SettingsError: the proxy, or certificates that variables name, cannot be used.
    """
    try:
        made = None if proxy is None else httpx.Proxy(proxy.url)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        return httpx.AsyncHTTPTransport(proxy=made, limits=limits)
    except ImportError as error:
        where = "ALL_PROXY" if proxy is None else proxy.variable
        raise SettingsError(
            f"{where} names a SOCKS proxy, and the package that speaks SOCKS is not installed.",
            hint=f"{how_to_install('httpx[socks]')}  Or name an HTTP proxy in {where}.",
        ) from error
    except OSError as error:  # also what ssl raises
        if error.filename is not None:  # set for this file only: ssl writes its session keys there
            raise SettingsError(
                f"SSLKEYLOGFILE names the file {error.filename}, which cannot be written: {foreign(error.strerror)}.",
                hint="Correct or unset the variable.",
            ) from error
        raise SettingsError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: {foreign(error.strerror or error)}.",
            hint="Correct or unset the variable.",
        ) from error
    except (ValueError, httpx.InvalidURL) as error:
        if proxy is None:
            raise
        raise SettingsError(
            f"{proxy.variable} does not name a proxy of a kind that can be used.", hint=proxy.hint
        ) from error


def login_wanted(proxy: Proxy) -> SettingsError:
    """The proxy wants a login, or rejects the one it got."""
    said = proxy.refusal(PROXY_LOGIN)
    return SettingsError(f"{said[0].upper()}{said[1:]}.", hint=proxy.login_hint)


@contextmanager
def trouble_by_way_of(proxy: Proxy | None) -> Iterator[None]:
    """Convert errors of the libraries to one of these.

    :raises ServerTrouble: the server cannot be reached, or its answer is unusable.
    :raises SettingsError: the proxy wants a login.
    """
    try:
        yield
    except httpx.ProxyError as error:
        if proxy is not None and str(error).startswith(str(PROXY_LOGIN)):
            raise login_wanted(proxy) from error
        raise ServerTrouble(_by_way_of(proxy, error)) from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ServerTrouble(_by_way_of(proxy, error)) from error
    except TimeoutError as error:
        raise ServerTrouble("it took too long for its answer") from error


def _by_way_of(proxy: Proxy | None, error: Exception) -> str:
    """What failed, and whether that was the proxy: with a proxy, the only connection we make is to it."""
    words = f"{type(error).__name__}: {foreign(error)}".rstrip(": ")
    if proxy is None:
        return words
    if isinstance(error, httpx.ProxyError):
        status = _STATUS.match(str(error))  # of its answer to CONNECT; a SOCKS proxy has none
        return proxy.refusal(int(status[0])) if status else f"{proxy.named} reports a failure ({words})"
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) and not _is_about_certificates(error):
        return proxy.failure(error)
    return f"{words}, by way of {proxy.named}"


def _is_about_certificates(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
