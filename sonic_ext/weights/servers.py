"""Which server is asked for weights, and through which proxy: by the environment, or else by the system.

httpx's own reading of proxies refuses to begin over forms that others accept (`NO_PROXY=[::1]`, ranges of
IPv6), and knows no ranges.
"""

from __future__ import annotations

import ipaddress
import os
import re
import urllib.request
from urllib.parse import urlsplit

HUB = "https://huggingface.co"
_WITH_PORT = re.compile(r"(\[.*\]|[^:]*):([0-9]{1,5})")
_SOCKS = {"socks": "socks5", "socks5h": "socks5"}
"""Other names of the one kind of SOCKS that httpx speaks; it always lets the proxy look names up."""


def endpoint(named: str | None) -> str:
    """The server that is asked: one that an option names, else $HF_ENDPOINT, else the Hub; without a slash at
    its end."""
    return (named or os.environ.get("HF_ENDPOINT", "")).strip().rstrip("/") or HUB


def proxy_of(address: str) -> str | None:
    """The proxy's own address, with its scheme; None where the server is asked itself.

    Read are HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, in small letters, too.
    """
    asked, known = urlsplit(address), urllib.request.getproxies()
    named = (known.get(asked.scheme) or known.get("all") or "").strip()
    host = asked.hostname or ""
    port = asked.port or {"http": 80, "https": 443}.get(asked.scheme)
    if not named or excepted(host, port, known.get("no", "")) or urllib.request.proxy_bypass(host):
        return None
    scheme, colon, rest = named.partition("://")
    return f"{_SOCKS.get(scheme.lower(), scheme.lower())}://{rest}" if colon else f"http://{named}"


def excepted(host: str, port: int | None, exceptions: str) -> bool:
    """Whether a server is among those that NO_PROXY names: `*`, names with all below them, with a port or
    without, addresses, and ranges of them."""
    return any(_is_meant(host.lower(), port, each.strip().lower()) for each in exceptions.split(","))


def _is_meant(host: str, port: int | None, exception: str) -> bool:
    if exception == "*":
        return True
    if with_port := _WITH_PORT.fullmatch(exception):
        exception = with_port[1]
        if int(with_port[2]) != port:
            return False
    try:
        network = ipaddress.ip_network(exception.replace("[", "").replace("]", ""), strict=False)
        return ipaddress.ip_address(host) in network
    except ValueError:  # one of both is a name
        domain = exception.lstrip("*.").rstrip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))


def without_password(address: str) -> str:
    """A proxy's address, fit to be shown."""
    scheme, colon, rest = address.partition("://")
    return f"{scheme}{colon}{rest.rpartition('@')[2]}" if colon else rest or address.rpartition("@")[2]
