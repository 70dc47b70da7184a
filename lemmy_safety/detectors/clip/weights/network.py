"""Checks whether there is a network at all, before a vendor library starts to download weights.

The libraries retry a dead network for half a minute (huggingface_hub) or wait for ever (horde_safety).
This module downloads nothing.
"""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request

from lemmy_safety.foreign import foreign
from lemmy_safety.proxies import proxy_for, refusal_of_tunnel

#: Seconds for one answer. A name that does not resolve fails at once; only a network that swallows packets takes this
#: long.
TIMEOUT_S = 8.0


def why_unreachable(url: str, *, timeout_s: float = TIMEOUT_S) -> str | None:
    """None if some server answers for ``url``, else why not. Uses proxies from the environment.

    A refusal (401, 404, 503) or a certificate unknown to this Python counts as an answer: the library will find out
    whether
    it can get the file.

    :raises SettingsError: a variable holds an invalid proxy URL, with which urllib and the libraries fail alike.
    """
    proxy_for(url)
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - https addresses of the vendors' own hubs
    try:
        # urlopen() would keep the proxies of its first call.
        with urllib.request.build_opener().open(request, timeout=timeout_s):
            return None
    except urllib.error.HTTPError as error:
        error.close()
        return None
    except urllib.error.URLError as error:
        return None if isinstance(error.reason, ssl.SSLError) else _reason(url, error.reason)
    except OSError as error:
        return _reason(url, error)


def _reason(url: str, error: BaseException | str) -> str:
    proxy = proxy_for(url, all_counts=False)  # urllib ignores ALL_PROXY
    if proxy is None or isinstance(error, str):
        return foreign(error) or type(error).__name__
    status = refusal_of_tunnel(error)
    return proxy.failure(error) if status is None else proxy.refusal(status)
