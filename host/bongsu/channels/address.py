"""Where messages may be sent. Pure."""

import ipaddress
from urllib.parse import urlsplit


def url_problem(url: str) -> str | None:
    """What is wrong with an address that messages are to be sent to; None if nothing is."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "it is not a web address"
    if parts.scheme not in ("http", "https") or not host:
        return "it is not a web address"
    if any(not c.isprintable() or c == " " for c in url):
        return "it holds a space or an invisible character"
    if parts.scheme == "http" and not _is_loopback(host):
        return "plain http is allowed to this machine only; use https"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
