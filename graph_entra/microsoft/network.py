"""The way out: what the process's environment says of a proxy and of trust, made to mean one thing to every library.

Login and Graph are asked through httpx, the intake and the platform through requests. Both read the same variables, and
each stumbles over another spelling: httpx does not start with ``NO_PROXY=fd00::/8`` or ``[::1]``, neither understands
SOCKS as it is installed here, and a password with a ``#`` in it cuts an address in two. So the variables are rewritten
once, before the first client is made, in the spelling that all of them read alike; what nobody can do is a sentence.

Which variable counts is the libraries' common rule (urllib's): ``https_proxy`` before ``HTTPS_PROXY``, either before
``ALL_PROXY``. Source: https://docs.python.org/3/library/urllib.request.html#urllib.request.getproxies and
https://curl.se/docs/manpage.html#ENVIRONMENT.
"""

from __future__ import annotations

import ipaddress
import os
import re
import ssl
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

_PROXIES: Final = ("https_proxy", "all_proxy", "http_proxy")
# httpx reads the first, requests the other two.
_TRUST: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NAME: Final = re.compile(r"\.?[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?(?::\d{1,5})?")
_WRITTEN: Final = (
    "Write it as http://host:port, or http://user:password@host:port with %40 for an @ in the password, %3A for a "
    "colon, %2F for a slash, %23 for a # and %3F for a question mark."
)


def settle(environment: MutableMapping[str, str] = os.environ) -> str | None:
    """Rewrite the network's variables so that every library reads them alike.

    A variable that cannot be used is taken out: the sentence about it has to reach the platform, by what way is left.

    Returns:
        One sentence about what cannot be done, naming the variable and never its value's password; None if all can.
    """
    fault = _settle_proxies(environment)
    for name in _named(environment, "no_proxy"):
        entries = dict.fromkeys(_exceptions(environment[name]))
        # Beside other entries, only httpx would take it for everything.
        environment[name] = "*" if "*" in entries else ",".join(entries)
    return " ".join(said for said in (fault, _settle_trust(environment)) if said is not None) or None


def proxied(host: str) -> bool:
    """Whether ``https://host`` is asked through a proxy."""
    proxies = getproxies()
    return bool(proxies.get("https") or proxies.get("all")) and not proxy_bypass(host)


def _settle_proxies(environment: MutableMapping[str, str]) -> str | None:
    counts, fault = _that_counts(environment), None
    for kind in _PROXIES:
        for name in _named(environment, kind):
            value = environment[name].strip(" \t\r\n'\"")
            address = _proxy(value)
            if address is not None:
                environment[name] = address
                continue
            # Where another one counts it decides nothing, but httpx would not start with it.
            del environment[name]
            if name == counts:
                fault = _proxy_fault(name, value)
    return fault


def _that_counts(environment: Mapping[str, str]) -> str | None:
    """The variable that decides how ``https://`` is asked, which is all that Microsoft and Sekoia.io are asked by."""
    for kind in ("https_proxy", "all_proxy"):
        names = _named(environment, kind)
        # An empty one in small letters takes the other back, says urllib.
        if kind in names:
            names = [kind]
        for name in names:
            if environment[name].strip(" \t\r\n'\""):
                return name
    return None


def _proxy(value: str) -> str | None:
    """A proxy's address as every library reads it, or nothing for nothing; None if it cannot be read or used."""
    if not value:
        return ""
    scheme, found, rest = value.partition("://")
    scheme, rest = (scheme.lower(), rest) if found else ("http", value)
    credentials, at, place = rest.rpartition("@")
    try:
        parts = urlsplit(f"//{place}")
        port = parts.port
    except ValueError:
        return None
    host = _host(parts.hostname or "")
    if scheme not in ("http", "https") or host is None or parts.path.strip("/") or parts.query or parts.fragment:
        return None
    if re.search(r"[\s/?#]", credentials):
        return None
    user, colon, password = credentials.partition(":")
    who = f"{quote(unquote(user), safe='')}{colon}{quote(unquote(password), safe='')}@" if at else ""
    return f"{scheme}://{who}{host}" + (f":{port}" if port is not None else "")


def _host(name: str) -> str | None:
    """A host as it stands in an address; None if it is none that every library takes."""
    if ":" in name:
        return None if _address(name) is None else f"[{name}]"
    if re.fullmatch(r"[0-9.]+", name):
        return None if _network(name) is None else name
    return name if _NAME.fullmatch(name) and not name.startswith(".") else None


def _proxy_fault(name: str, value: str) -> str:
    if value.lower().startswith("socks"):
        return (
            f"{name} names a SOCKS proxy, through which this connector cannot go. Give it the address of an HTTP "
            "proxy, as http://host:port, in HTTPS_PROXY."
        )
    return f"{name} cannot be read as the address of a proxy. {_WRITTEN}"


def _exceptions(value: str) -> Iterator[str]:
    """What is asked directly, without the entries that a library cannot read: only a host's address can match them."""
    for entry in re.split(r"[\s,;]+", value.strip(" \t\r\n'\"")):
        entry = entry.partition("://")[2].rstrip("/") if "://" in entry else entry
        entry = entry.removeprefix("*") if entry != "*" else entry
        if entry == "*" or _NAME.fullmatch(entry):
            yield entry.removesuffix(":443")
        elif _network(entry) is not None:
            yield entry
        elif _address(entry.strip("[]")) is not None:
            yield entry.strip("[]")


def _network(entry: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(entry, strict=False)
    except ValueError:
        return None


def _address(entry: str) -> ipaddress.IPv6Address | None:
    try:
        return ipaddress.IPv6Address(entry) if "%" not in entry else None
    except ValueError:
        return None


def _settle_trust(environment: MutableMapping[str, str]) -> str | None:
    for name in _TRUST:
        fault = _trust_fault(name, environment.get(name, ""))
        if fault is not None:
            del environment[name]
            return fault
    return None


def _trust_fault(name: str, path: str) -> str | None:
    # requests takes a folder, too.
    if not path or (name != "SSL_CERT_FILE" and Path(path).is_dir()):
        return None
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return f"{name} names {path}, which holds no certificates in PEM form. Name a file that does."
    except OSError as error:
        why = (error.strerror or "").lower()
        return f"{name} names {path}, which cannot be read ({why}). Name a file that is there, or unset {name}."
    return None


def _named(environment: Mapping[str, str], kind: str) -> list[str]:
    return [name for name in (kind, kind.upper()) if name in environment]
