"""Addresses of webhooks: they are keys, and are shown by their host only; and which of them may be used."""

import re
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit


MASK: Final = "***"
_URL: Final = re.compile(r"^(https?://[^/?#]+)[/?#].*$", re.DOTALL)


def masked(value: Any) -> Any:
    """Hide what a webhook's address gives away behind its host: such addresses are keys."""
    match value:
        case dict():
            return {k: _address(v) if k == "url" else masked(v) for k, v in value.items()}
        case list() | tuple():
            return [masked(item) for item in value]
        case _:
            return value


def _address(value: object) -> object:
    return _URL.sub(rf"\1/{MASK}", value) if isinstance(value, str) else value


def loopback(host: str) -> bool:
    """Whether this is the machine itself."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def fault_of(url: str) -> str | None:
    """Say what is wrong with the address of a webhook; None where nothing is sent in clear over a network."""
    try:
        parts = urlsplit(url)
        host = parts.hostname if parts.port != 0 else None
    except ValueError:
        return "is no address"
    if not host:
        return "is no address"
    if parts.scheme != "https" and not loopback(host):
        return "must begin with https://; http:// is for this machine alone"
    return None
