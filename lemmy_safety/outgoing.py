"""How a server is reached over HTTP: through a proxy or directly, and how failures on the way are named."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpx

from lemmy_safety.errors import SettingsError
from lemmy_safety.foreign import foreign
from lemmy_safety.installing import how_to_install
from lemmy_safety.proxies import causes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lemmy_safety.proxies import Proxy

#: The status with which a proxy asks for a login.
PROXY_LOGIN: Final = 407

_STATUS = re.compile(r"[0-9]{3}\b")

#: What h11 says of an answer that begins like TLS, of none at all, and of one that was cut.
_NOT_TEXT: Final = "illegal request line"
_NO_ANSWER: Final = "without sending a response"
_CUT_SHORT: Final = "without sending complete message body"


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
    words = _in_plain_words(error)
    if proxy is None:
        return words
    if isinstance(error, httpx.ProxyError):
        status = _STATUS.match(str(error))  # of its answer to CONNECT; a SOCKS proxy has none
        return proxy.refusal(int(status[0])) if status else f"{proxy.named} reports a failure ({words})"
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) and not _is_about_certificates(error):
        return proxy.failure(error)
    return f"{words}, by way of {proxy.named}"


def _in_plain_words(error: Exception) -> str:  # noqa: PLR0911, C901 - one for each fault
    """What went wrong between us and the server, or the proxy: a sentence without its capital letter."""
    for cause in causes(error):
        match cause:
            case socket.gaierror(errno=socket.EAI_AGAIN):
                return "its host name cannot be looked up at present"
            case socket.gaierror():
                return "its host name does not resolve"
            case ssl.SSLCertVerificationError():
                return f"its certificate is not accepted ({foreign(cause.verify_message)})"
            case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "RECORD_LAYER_FAILURE"):
                return "what answers there does not speak TLS; try http:// instead of https://"
            case ssl.SSLError():
                return f"TLS failed ({foreign(cause.reason or cause)})"
            case ConnectionRefusedError():
                return "it refused the connection, or nothing listens there"
    if isinstance(error, httpx.ConnectTimeout):
        return "no connection could be made in time"
    said = foreign(error)
    if _NOT_TEXT in said:
        return "what answers there does not speak HTTP; it may want https:// instead of http://"
    if _CUT_SHORT in said:
        return "its answer ended too early"
    if _NO_ANSWER in said or (isinstance(error, httpx.NetworkError) and not said):
        return "it closed the connection; if it always does, another service listens there"
    return f"{type(error).__name__}: {said}".rstrip(": .")


def _is_about_certificates(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False
