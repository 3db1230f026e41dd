"""The one way to fetch an address that somebody else chose: an identity provider's, a webhook's, a link's.

Whoever chooses an address may want to reach, through us, what only we can reach: this machine, the network behind it,
a cloud's metadata. So the name is resolved first, every answer is judged, and the call goes to what was judged, not
to the name again. Only https, no credentials, nothing decompressed, no redirect that is not judged like the first
address; and a limit on how much comes and how long it takes in all.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urljoin, urlsplit

import urllib3.connection
import urllib3.exceptions

from app.errors import ServiceError

__all__ = ["FetchError", "Fetched", "Reach", "fetch", "forbidden", "resolve"]

SECONDS, MOST = 10.0, 1024 * 1024
LONGEST_URL = 2_000
MOST_ADDRESSES = 4  # of one name: the rest is not tried
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Where clouds serve their own machines, besides link-local: ``is_global`` takes these for anybody's.
_METADATA = (ipaddress.ip_network("168.63.129.16/32"), ipaddress.ip_network("192.0.0.0/24"))
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
_COMPATIBLE = ipaddress.ip_network("::/96")


class Reach(StrEnum):
    """How far a call may go."""

    PUBLIC = "public"  # what anybody can reach
    SANDBOX = "sandbox"  # this machine as well, and by http: only where the installation is a sandbox
    OPERATOR = "operator"  # what the operator set for this installation: private networks as well


class FetchError(ServiceError):
    """Nothing was fetched. ``reason``: address, refused-address, name, connection, tls, time, size, redirect, answer."""

    code = "fetch"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whole. ``headers`` by lower-case name; ``url`` is where it came from in the end."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name, as this machine resolves it. OSError when there are none."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def forbidden(text: str, reach: Reach = Reach.PUBLIC) -> bool:
    """Whether a numeric address is none that a call may go to."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return True
    return any(_forbidden(one, reach) for one in _meant(address))


def _meant(address: Address) -> list[Address]:
    """An address, and the one of IPv4 that it carries within: whichever a network would take it for."""
    if isinstance(address, ipaddress.IPv4Address):
        return [address]
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if any(address in network for network in _NAT64):
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address in _COMPATIBLE and int(address) > 1:
        inner.append(ipaddress.IPv4Address(int(address)))
    found: list[Address] = [one for one in inner if one is not None]
    # One that is only a cover for IPv4 is judged by what it covers.
    return found if address.ipv4_mapped else [address, *found]


def _forbidden(address: Address, reach: Reach) -> bool:
    if address.is_loopback:
        return reach is Reach.PUBLIC
    if any(address in network for network in _METADATA):
        return True
    if address.is_multicast or address.is_link_local or address.is_unspecified:
        return True
    if reach is Reach.OPERATOR and address.is_private and not address.is_reserved:
        return False
    return not address.is_global or address.is_reserved


def fetch(
    url: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    reach: Reach = Reach.PUBLIC,
    redirects: int = 0,
    most: int = MOST,
    seconds: float = SECONDS,
    resolver: Resolver = resolve,
    tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
) -> Fetched:
    """Fetch an address. ``redirects``: how many are followed, each judged anew, and only of a GET. FetchError.

    ``most``: bytes of the body; ``seconds``: for everything together, but for the resolving of names. Whatever status
    comes is an answer; what it says is somebody else's word.
    """
    ends = time.monotonic() + seconds
    while True:
        target = _target(url, reach)
        addresses = _addresses(target, reach, resolver)
        answer = _call(target, addresses, method, body, dict(headers or {}), most, ends, tls)
        where = answer.headers.get("location", "")
        if answer.status not in _REDIRECTS or method != "GET" or not where or not redirects:
            return answer
        redirects -= 1
        try:
            following = urljoin(url, where)
        except ValueError:
            raise FetchError("redirect", "It leads to an address that cannot be read.") from None
        if urlsplit(following).netloc != urlsplit(url).netloc:
            headers = None  # what was meant for one host is not for another
        url = following


@dataclass(frozen=True, slots=True)
class _Target:
    url: str
    secure: bool
    host: str
    port: int
    path: str
    authority: str  # as the Host header says it


def _target(url: str, reach: Reach) -> _Target:
    """Read an address strictly. FetchError "address"."""
    plain = url.isascii() and url.isprintable() and " " not in url and "\\" not in url
    if not plain or len(url) > LONGEST_URL:
        raise FetchError("address", "That is not an address that can be fetched.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise FetchError("address", "That is not an address that can be fetched.") from None
    wanted = ("https",) if reach is Reach.PUBLIC else ("https", "http")
    if parts.scheme not in wanted or not parts.hostname or "@" in parts.netloc or port == 0:
        raise FetchError("address", "Give an https address without a name or a password in it.")
    secure = parts.scheme == "https"
    host = parts.hostname
    shown = f"[{host}]" if ":" in host else host
    return _Target(
        url,
        secure,
        host,
        port or (443 if secure else 80),
        (parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        shown if port is None else f"{shown}:{port}",
    )


def _addresses(target: _Target, reach: Reach, resolver: Resolver) -> list[str]:
    """What a name stands for, every one of it judged. One bad answer is enough: nobody mixes them by accident."""
    try:
        found = list(resolver(target.host, target.port))
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise FetchError("name", "There is no such host.")
    if any(forbidden(one, reach) for one in found):
        raise FetchError(
            "refused-address", "That address leads to a network that may not be reached from here."
        )
    if not target.secure and not all(
        ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found
    ):
        raise FetchError("address", "Give an https address: http is for this machine only.")
    return found[:MOST_ADDRESSES]


def _call(
    target: _Target,
    addresses: Sequence[str],
    method: str,
    body: bytes | None,
    headers: dict[str, str],
    most: int,
    ends: float,
    tls: Callable[[], ssl.SSLContext],
) -> Fetched:
    connection = _connected(target, addresses, ends, tls)
    fixed = {"Host": target.authority, "User-Agent": "Wardlink", "Accept-Encoding": "identity"}
    got = bytearray()
    with _within(connection, ends) as late:
        try:
            connection.request(
                method,
                target.path,
                body=body,
                headers=headers | fixed,
                preload_content=False,
                decode_content=False,
            )
            answer = connection.getresponse()
            while len(got) <= most and (piece := answer.read(min(65_536, most + 1 - len(got)))):
                got += piece
        except (OSError, ValueError, http.client.HTTPException, urllib3.exceptions.HTTPError) as error:
            if late.is_set() or isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
                raise FetchError("time", "It took too long to answer.") from None
            raise FetchError("answer", "What it answered could not be read.") from None
    if late.is_set():
        raise FetchError("time", "It took too long to answer.")
    if len(got) > most:
        raise FetchError("size", f"It sent more than {most:,} bytes.")
    found = {name.lower(): value for name, value in answer.headers.items()}
    return Fetched(target.url, answer.status, found, bytes(got))


@contextmanager
def _within(connection: urllib3.connection.HTTPConnection, ends: float) -> Iterator[threading.Event]:
    """Close a connection at its end, and at the latest when its time is over: the event says that it was cut.

    Each read has a time of its own, but a peer that sends a byte now and then would hold us for ever.
    """
    late = threading.Event()

    def cut() -> None:
        late.set()
        if connection.sock is not None:
            with suppress(OSError):  # it has ended by itself
                # Of the socket beneath: the state of TLS belongs to the thread that reads.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

    watch = threading.Timer(max(0.0, ends - time.monotonic()), cut)
    watch.daemon = True
    watch.start()
    try:
        yield late
    finally:
        watch.cancel()
        connection.close()


def _connected(
    target: _Target, addresses: Sequence[str], ends: float, tls: Callable[[], ssl.SSLContext]
) -> urllib3.connection.HTTPConnection:
    """A connection to the first address that takes one: to the number that was judged, never to the name again."""
    for address in addresses:
        left = ends - time.monotonic()
        if left <= 0:
            break
        connection: urllib3.connection.HTTPConnection
        if target.secure:
            connection = urllib3.connection.HTTPSConnection(
                address,
                target.port,
                timeout=left,
                ssl_context=tls(),
                # The certificate is the name's, whatever number is called.
                server_hostname=target.host,
            )
        else:
            connection = urllib3.connection.HTTPConnection(address, target.port, timeout=left)
        try:
            connection.connect()  # each step within the timeout: the handshake as a whole
        except (ssl.SSLError, urllib3.exceptions.SSLError):
            connection.close()
            raise FetchError("tls", "It has no certificate for this name that can be trusted.") from None
        except (OSError, urllib3.exceptions.HTTPError):
            connection.close()
            continue
        return connection
    raise FetchError("connection", "It cannot be reached.")
