"""The one thing that must never be wrong: had any byte left or not."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
import sys
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from messaging.providers.connection import InDoubtError, NotSentError
from messaging.providers.http import HttpClient, retry_after


async def post(client, *, timeout=5.0, body=b"x=1", may_start=None, target="/a"):
    return await client.request("POST", target, {"A": "b"}, body, timeout=timeout, may_start=may_start)


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def test_answers_come_whole_and_connections_are_kept(server_class):
    async def go():
        async with server_class(server_class.answer(201, b"hello", X_Mark="1")) as server:
            client = HttpClient(server.url)
            for _ in range(3):
                answer = await post(client)
                assert (answer.status, answer.body, answer.headers["x-mark"]) == (201, b"hello", "1")
            assert server.connections == 1
            assert server.requests[0].headers["host"] == server.url.removeprefix("http://")
            assert server.requests[0].body == b"x=1"
            await client.aclose()

    run(go())


@pytest.mark.skipif(sys.platform == "win32", reason="uvloop has no Windows")
def test_it_works_on_uvloop_too(server_class):
    import uvloop

    async def go():
        async with server_class(
            server_class.answer(200, b"x"), server_class.reset, server_class.answer(200, close=True)
        ) as server:
            client = HttpClient(server.url)
            assert (await post(client)).body == b"x"
            with pytest.raises(InDoubtError):
                await post(client)
            assert (await post(client)).status == 200
            time.sleep(0.1)
            assert (await post(client)).status == 200
            await client.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(go())


def test_many_requests_at_once_use_no_more_connections_than_the_limit(server_class):
    async def go():
        async with server_class(server_class.answer(200)) as server:
            client = HttpClient(server.url, limit=5)
            answers = await asyncio.gather(*(post(client) for _ in range(60)))
            assert [a.status for a in answers] == [200] * 60
            assert server.connections <= 5
            await client.aclose()

    run(go())


def test_a_chunked_answer_after_a_100_and_one_that_ends_with_the_connection_are_read(server_class):
    chunked = (
        b"HTTP/1.1 100 Continue\r\n\r\n"
        b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    until_end = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it"

    async def go():
        async with server_class(
            server_class.raw(chunked), server_class.raw(until_end, close=True), server_class.answer(200)
        ) as server:
            client = HttpClient(server.url)
            assert (await post(client))[::2] == (202, b"abc")
            assert (await post(client))[::2] == (200, b"all of it")
            assert (await post(client)).status == 200
            assert server.connections == 2
            await client.aclose()

    run(go())


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (lambda s: s.reset, "reset"),
        (lambda s: s.hang, "timeout"),
        (lambda s: s.raw(b"SSH-2.0-garbage\r\n"), "unreadable"),
        (lambda s: s.raw(b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nhal", close=True), "reset"),
        (lambda s: s.raw(b"HTTP/1.1 201 Created\r\nContent-Le", close=True), "reset"),
        (lambda s: s.raw(b"HTTP/1.1 201 Created\r\nContent-Length: 10\r\n\r\nhal"), "timeout"),
        (lambda s: s.answer(200, b"z" * 5000), "too-large"),
        (
            lambda s: s.raw(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nzz"),
            "unreadable",
        ),
    ],
)
def test_whatever_goes_wrong_after_the_write_is_in_doubt(server_class, action, reason):
    async def go():
        async with server_class(action(server_class), server_class.answer(200)) as server:
            client = HttpClient(server.url, max_response=2000)
            with pytest.raises(InDoubtError) as caught:
                await post(client, timeout=0.3 if reason == "timeout" else 5)
            assert caught.value.reason == reason
            assert len(server.requests) == 1, "never tried again by itself"
            assert (await post(client)).status == 200, "the next call finds a working client"
            await client.aclose()

    run(go())


@pytest.mark.parametrize("kind", ["asyncio", "uvloop"])
def test_an_answer_that_lies_in_the_socket_when_time_runs_out_is_read(kind):
    loop_factory = pytest.importorskip(kind).new_event_loop

    async def go():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = HttpClient(f"http://127.0.0.1:{listener.getsockname()[1]}")
            asked = asyncio.ensure_future(post(client, timeout=0.5))
            peer, _ = await asyncio.to_thread(listener.accept)

            def held_up() -> None:
                """The loop stands still in the midst of its sockets' work, as by SIGSTOP."""
                loop.remove_reader(peer)
                peer.recv(1_000)
                peer.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                time.sleep(0.6)

            with peer:
                loop.add_reader(peer, held_up)
                assert (await asked).status == 201
            await client.aclose()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(go())


def test_a_body_cut_off_midway_is_in_doubt(server_class):
    async def go():
        async with server_class(server_class.answer(200)) as server:
            server.cut_after = 1
            client = HttpClient(server.url)
            with pytest.raises(InDoubtError):
                await post(client, body=b"y" * 5_000_000)
            await client.aclose()

    run(go())


def test_a_closed_port_is_not_sent(server_class):
    async def go():
        async with server_class(server_class.answer(200)) as server:
            url = server.url
        with pytest.raises(NotSentError) as caught:
            await post(HttpClient(url))
        assert caught.value.reason == "connect"

    run(go())


def test_a_name_that_cannot_be_found_is_not_sent(monkeypatch):
    async def unknown(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async def go():
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
        with pytest.raises(NotSentError) as caught:
            await post(HttpClient("http://provider.invalid"))
        assert caught.value.reason == "dns"

    run(go())


def test_a_server_without_tls_where_tls_is_asked_for_is_not_sent(server_class):
    async def go():
        async with server_class(server_class.raw(b"HTTP/1.1 400 Bad\r\n\r\n")) as server:
            client = HttpClient(server.url.replace("http:", "https:"), connect_timeout=2)
            with pytest.raises(NotSentError):
                await post(client)
            assert server.requests == []

    run(go())


def test_tls_checks_the_certificate_and_then_works(server_class, tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "provider")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False
        )
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    pem = tmp_path / "both.pem"
    pem.write_bytes(
        certificate
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(pem)

    async def go():
        async with server_class(server_class.answer(200, b"safe"), tls=ours) as server:
            with pytest.raises(NotSentError) as caught:
                await post(HttpClient(server.url))
            assert caught.value.reason == "tls"
            client = HttpClient(server.url, tls=ssl.create_default_context(cadata=certificate.decode()))
            assert (await post(client)).body == b"safe"
            assert (await post(client)).body == b"safe"
            assert len(server.requests) == 2
            await client.aclose()

    run(go())


def test_a_passed_deadline_stops_the_call_before_any_byte(server_class):
    asked = []

    def too_late():
        asked.append(len(server_seen.requests))
        return False

    async def go():
        nonlocal server_seen
        async with server_class(server_class.answer(200)) as server_seen:
            client = HttpClient(server_seen.url)
            with pytest.raises(NotSentError) as caught:
                await post(client, may_start=too_late)
            assert caught.value.reason == "deadline"
            assert (asked, server_seen.requests) == ([0], [])
            assert (await post(client, may_start=lambda: True)).status == 200
            assert server_seen.connections == 1, "the unused connection was kept"
            await client.aclose()

    server_seen = None
    run(go())


def test_waiting_for_a_free_slot_ends_as_not_sent(server_class):
    async def go():
        async with server_class(server_class.hang) as server:
            client = HttpClient(server.url, limit=1)
            first = asyncio.ensure_future(post(client, timeout=0.6))
            await asyncio.sleep(0)
            with pytest.raises(NotSentError) as caught:
                await post(client, timeout=0.1)
            assert caught.value.reason == "pool-timeout"
            with pytest.raises(InDoubtError):
                await first
            assert len(server.requests) == 1

    run(go())


def test_a_connection_that_the_server_closed_meanwhile_is_not_written_to(server_class):
    async def go():
        async with server_class(server_class.answer(200, close=True), server_class.answer(200)) as server:
            client = HttpClient(server.url)
            assert (await post(client)).status == 200
            time.sleep(0.1)  # the loop stands still as it does while a worker writes to its database
            assert (await post(client)).status == 200
            assert server.connections == 2
            await client.aclose()

    run(go())


def test_a_connection_that_lay_idle_too_long_is_replaced(server_class):
    async def go():
        async with server_class(server_class.answer(200)) as server:
            client = HttpClient(server.url, idle_seconds=0.0)
            for _ in range(2):
                assert (await post(client)).status == 200
            assert server.connections == 2
            await client.aclose()

    run(go())


def test_a_server_that_speaks_unasked_loses_its_connection(server_class):
    twice = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 2

    async def go():
        async with server_class(server_class.raw(twice), server_class.answer(204)) as server:
            client = HttpClient(server.url)
            assert (await post(client)).status == 200
            assert (await post(client)).status == 204, "the second answer was not taken for this call's"
            await client.aclose()

    run(go())


def test_a_cancelled_call_throws_its_connection_away(server_class):
    async def go():
        async with server_class(server_class.hang, server_class.answer(200)) as server:
            client = HttpClient(server.url, limit=1)
            task = asyncio.ensure_future(post(client))
            while not server.requests:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await post(client)).status == 200
            assert server.connections == 2
            await client.aclose()

    run(go())


def test_a_client_serves_a_second_event_loop_only_after_it_was_closed(server_class):
    client, port = None, 0

    async def served():
        nonlocal client, port
        async with server_class(server_class.answer(200), port=port) as server:
            port = int(server.url.rsplit(":", 1)[1])
            client = client or HttpClient(server.url)
            assert (await post(client)).status == 200
            await client.aclose()

    async def nobody_there():
        with pytest.raises(NotSentError):
            await post(client)

    run(served())
    run(served())
    run(nobody_there())
    with pytest.raises(RuntimeError, match="another event loop"):
        run(nobody_there())


@pytest.mark.parametrize("bad", ["a\r\nX: y", "a\nb", "a\rb"])
def test_nothing_can_break_out_of_a_header(bad):
    async def go():
        client = HttpClient("http://127.0.0.1:9")
        with pytest.raises(ValueError, match="line break"):
            await client.request("POST", "/", {"A": bad}, b"", timeout=1)
        with pytest.raises(ValueError, match="line break"):
            await client.request("POST", "/" + bad, {}, b"", timeout=1)
        with pytest.raises(ValueError, match="space"):
            await client.request("POST", "/ HTTP/1.1", {}, b"", timeout=1)

    run(go())


@pytest.mark.parametrize(
    "url", ["", "ftp://a", "http://", "https://a/path", "https://u:p@a", "https://a?b", "a:80"]
)
def test_a_wrong_base_address_is_refused_at_once(url):
    with pytest.raises(ValueError, match="base address"):
        HttpClient(url)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "-3"}, 0),
        ({"retry-after": "999999"}, 3600),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"x-ratelimit-reset": "1030"}, 30),
        ({"x-ratelimit-reset": "900"}, 0),
        ({"retry-after": "soon", "x-ratelimit-reset": "1030"}, 30),
    ],
)
def test_how_long_to_wait_is_read_from_either_header(headers, seconds):
    assert retry_after(headers, now=1000.0) == seconds
