"""Fetching what somebody else chose: never from a network that only we can reach, never too much, never too long."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from app.services.fetching import Fetched, FetchError, Reach, fetch, forbidden

HOST = "idp.police.example"
Answer = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class Peer:
    """A real server on this machine. ``tls`` trusts it, as a browser trusts who has a certificate."""

    port: int = 0
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)
    roots: Path | None = None

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.roots))

    def get(self, path: str = "/", *, scheme: str = "http", host: str = HOST, **more: object) -> Fetched:
        values = {"reach": Reach.SANDBOX, "resolver": self.here, "tls": self.tls, "seconds": 5.0} | more
        return fetch(f"{scheme}://{host}:{self.port}{path}", **values)  # type: ignore[arg-type]

    def here(self, host: str, port: int) -> list[str]:
        return ["127.0.0.1"]


def said(status: int = 200, body: bytes = b"hello", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@contextmanager
def serving(folder: Path | None = None) -> Iterator[Peer]:
    peer = Peer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            peer.asked.append((self.path, self.headers["Host"], body))
            try:
                peer.answers.get(self.path, said())(self)
            except OSError:  # the caller went away: what these tests are about
                self.close_connection = True

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            return  # a caller that went away in the handshake

    server = Server(("127.0.0.1", 0), Handler)
    if folder is not None:
        peer.roots = certify(folder, HOST)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    peer.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certify(folder: Path, host: str) -> Path:
    """A certificate for a name, that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return folder / "cert.pem"


@pytest.fixture
def peer() -> Iterator[Peer]:
    with serving() as made:
        yield made


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[Peer]:
    with serving(tmp_path) as made:
        yield made


def refused(reason: str, act: Callable[[], object]) -> None:
    with pytest.raises(FetchError) as caught:
        act()
    assert caught.value.reason == reason


# -- where to
INSIDE = (
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "192.0.2.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1",
    "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2002:a9fe:a9fe::1", "::127.0.0.1", "::7f00:1", "2001:db8::1", "nonsense", "",
)  # fmt: skip
OUTSIDE = (
    "8.8.8.8",
    "1.1.1.1",
    "185.199.108.153",
    "2606:4700:4700::1111",
    "2a00:1450:4009::1",
    "::ffff:8.8.8.8",
)


@pytest.mark.parametrize("address", INSIDE)
def test_an_address_inside_is_refused_before_anything_is_called(peer: Peer, address: str) -> None:
    assert forbidden(address)
    refused("refused-address", lambda: fetch(f"https://{HOST}/", resolver=lambda *_: [address]))
    refused("refused-address", lambda: fetch(f"https://{HOST}/", resolver=lambda *_: ["8.8.8.8", address]))
    assert peer.asked == []


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_that_anybody_can_reach_is_allowed(address: str) -> None:
    assert not forbidden(address)


@given(st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="169.254.0.0/16"))
def test_no_cover_of_ipv6_hides_an_address_inside(address: object) -> None:
    number = int(address)  # type: ignore[call-overload]
    for cover in ("::ffff:0:0", "64:ff9b::", "::"):
        base = int.from_bytes(socket.inet_pton(socket.AF_INET6, cover))
        covered = socket.inet_ntop(socket.AF_INET6, (base | number).to_bytes(16))
        assert forbidden(covered), covered
    assert forbidden(socket.inet_ntop(socket.AF_INET6, ((0x2002 << 112) | (number << 80)).to_bytes(16)))


def test_the_operators_own_network_is_reached_only_by_what_the_operator_set() -> None:
    for address in ("10.0.0.1", "192.168.1.1", "fd12::1", "127.0.0.1"):
        assert not forbidden(address, Reach.OPERATOR)
        assert forbidden(address)
    for address in (
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "0.0.0.0",
        "168.63.129.16",
        "::ffff:169.254.169.254",
    ):
        assert forbidden(address, Reach.OPERATOR)
        assert forbidden(address, Reach.SANDBOX)
    assert not forbidden("127.0.0.1", Reach.SANDBOX)
    assert forbidden("10.0.0.1", Reach.SANDBOX)


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "//x", "http://idp.police.example/", "ftp://x.example/", "file:///etc/passwd", "gopher://x.example/",
        "https://", "https:///x", "https://user@x.example/", "https://user:pw@x.example/", "https://x.example:0/",
        "https://x.example:99999/", "https://x.example:x/", "https://[::1/", "https://x.example\\@evil.example/",
        "https://x.example/\r\nHost: evil", "https://x.example/a b", "https://\u0435vil.example/", "javascript:alert(1)",
        "https://x.example/" + "a" * 2_000, "https://x.example/\x00",
    ],
)  # fmt: skip
def test_what_is_no_plain_https_address_is_refused_unresolved(url: str) -> None:
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["8.8.8.8"]

    refused("address", lambda: fetch(url, resolver=resolver))
    assert asked == []


def test_numbers_that_are_written_strangely_are_judged_as_this_machine_reads_them() -> None:
    for host in ("2130706433", "0x7f.1", "127.1", "0177.0.0.1", "[::ffff:7f00:1]", "localhost"):
        refused("refused-address", lambda host=host: fetch(f"https://{host}/"))


def test_a_name_that_is_not_there_is_said_so() -> None:
    def nobody(host: str, port: int) -> list[str]:
        raise socket.gaierror

    refused("name", lambda: fetch(f"https://{HOST}/", resolver=nobody))
    refused("name", lambda: fetch(f"https://{HOST}/", resolver=lambda *_: []))


def test_http_is_for_this_machine_alone() -> None:
    for reach in (Reach.SANDBOX, Reach.OPERATOR):
        refused("address", lambda r=reach: fetch(f"http://{HOST}/", reach=r, resolver=lambda *_: ["8.8.8.8"]))
    refused(
        "address",
        lambda: fetch(f"http://{HOST}/", reach=Reach.OPERATOR, resolver=lambda *_: ["10.0.0.1"]),
    )


# -- the call
def test_an_answer_comes_whole_with_the_name_as_its_host(peer: Peer) -> None:
    peer.answers["/a?b=1"] = said(404, b"nothing", X_Thing="x")
    found = peer.get("/a?b=1")
    assert (found.status, found.body, found.headers["x-thing"]) == (404, b"nothing", "x")
    assert peer.asked == [("/a?b=1", f"{HOST}:{peer.port}", b"")]
    found = peer.get("/in", method="POST", body=b"{}")
    assert (found.status, peer.asked[-1][2]) == (200, b"{}")


def test_a_name_is_asked_once_so_that_it_cannot_change_its_mind(peer: Peer) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["10.0.0.1"]

    assert peer.get(resolver=rebinding).status == 200
    assert asked == [HOST]


def test_the_certificate_must_be_the_names_although_a_number_is_called(secure: Peer) -> None:
    assert secure.get(scheme="https").body == b"hello"
    assert secure.asked[0][1] == f"{HOST}:{secure.port}"
    refused("tls", lambda: secure.get(scheme="https", host="other.police.example"))
    refused("tls", lambda: secure.get(scheme="https", tls=ssl.create_default_context))
    assert len(secure.asked) == 1


def test_a_second_address_is_tried_when_the_first_does_not_answer(peer: Peer) -> None:
    assert peer.get(resolver=lambda *_: ["::1", "127.0.0.1"]).status == 200
    refused("connection", lambda: peer.get(resolver=lambda *_: ["::1"]))


# -- redirects
def test_no_redirect_is_followed_unless_asked_for(peer: Peer) -> None:
    peer.answers["/go"] = said(302, b"", Location="/there")
    assert peer.get("/go").status == 302
    assert peer.get("/go", redirects=1).url.endswith("/there")
    assert peer.get("/go", method="POST", redirects=1).status == 302


def test_each_redirect_is_judged_like_the_first_address(peer: Peer) -> None:
    peer.answers["/out"] = said(302, b"", Location="https://metadata.example/latest")
    peer.answers["/file"] = said(302, b"", Location="file:///etc/passwd")
    peer.answers["/round"] = said(302, b"", Location="/round")
    where = {HOST: ["127.0.0.1"], "metadata.example": ["169.254.169.254"]}
    refused(
        "refused-address", lambda: peer.get("/out", redirects=3, resolver=lambda host, _: where.get(host, []))
    )
    refused("address", lambda: peer.get("/file", redirects=3))
    assert peer.get("/round", redirects=3).status == 302
    assert [path for path, *_ in peer.asked].count("/round") == 4


def test_what_was_meant_for_one_host_is_not_sent_to_another(peer: Peer) -> None:
    heard: list[str | None] = []

    def keep(handler: BaseHTTPRequestHandler) -> None:
        heard.append(handler.headers.get("Authorization"))
        said()(handler)

    peer.answers["/same"] = said(302, b"", Location="/end")
    peer.answers["/other"] = said(302, b"", Location=f"http://other.example:{peer.port}/end")
    peer.answers["/end"] = keep
    for path in ("/same", "/other"):
        assert peer.get(path, redirects=1, headers={"Authorization": "secret"}).status == 200
    assert heard == ["secret", None]


# -- limits
def test_more_than_was_asked_for_is_refused_however_it_is_sent(peer: Peer) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        while True:
            handler.wfile.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    peer.answers["/endless"] = chunked
    peer.answers["/large"] = said(200, b"x" * 1_001)
    refused("size", lambda: peer.get("/endless", most=1_000))
    refused("size", lambda: peer.get("/large", most=1_000))
    assert len(peer.get("/large", most=1_001).body) == 1_001


def test_what_is_compressed_stays_so_and_cannot_swell(peer: Peer) -> None:
    peer.answers["/bomb"] = said(200, b"\x1f\x8bnot really", Content_Encoding="gzip")
    assert peer.get("/bomb").body == b"\x1f\x8bnot really"


def test_one_that_answers_a_byte_now_and_then_is_cut_off_in_time(peer: Peer) -> None:
    stop = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not stop.wait(0.05):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        stop.wait(10)

    peer.answers["/drip"], peer.answers["/silent"] = drip, silent
    try:
        for path in ("/drip", "/silent"):
            began = time.monotonic()
            refused("time", lambda path=path: peer.get(path, seconds=0.4))
            assert time.monotonic() - began < 3
    finally:
        stop.set()


def test_an_answer_that_is_none_or_half_is_said_so(peer: Peer) -> None:
    def nonsense(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\x01\x02\r\n\r\n")
        handler.close_connection = True

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        handler.close_connection = True

    peer.answers["/nonsense"], peer.answers["/half"] = nonsense, half
    for path in ("/nonsense", "/half"):
        refused("answer", lambda path=path: peer.get(path))
