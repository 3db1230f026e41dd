"""The server itself: hostile bytes, the inbox page, starting and stopping as a process."""

from __future__ import annotations

import json
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from messaging.sandbox.__main__ import arguments, main

from .conftest import DISPATCH, OURS, THEIRS, Caller, Start, mail, person, wait_for

ROOT = Path(__file__).resolve().parents[3]


def raw(caller: Caller, sent: bytes) -> bytes:
    """What comes back on a connection until the sandbox closes it."""
    with socket.create_connection(("127.0.0.1", caller.sandbox.port), timeout=20) as s:
        s.sendall(sent)
        s.shutdown(socket.SHUT_WR)
        parts = []
        while part := s.recv(65_536):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", b"400"),
        (b"POST /v3/mail/send HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"413"),
        (b"GET /?" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"431"),
        (
            b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"y" * 90) for n in range(900)) + b"\r\n",
            b"431",
        ),
        (b"GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n", b"404"),
        (b"POST /control/faults HTTP/1.1\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{", b"400"),
    ],
)
def test_hostile_bytes_meet_a_4xx_and_the_next_client_is_served(
    caller: Caller, sent: bytes, status: bytes
) -> None:
    assert raw(caller, sent).startswith(b"HTTP/1.1 " + status)
    assert caller.text().status == 201


def test_requests_in_one_packet_and_chunked_bodies_are_answered_in_order(caller: Caller) -> None:
    form = f"To=%2B447700900123&From=%2B447700900001&Body=x&StatusCallback=http://127.0.0.1:1/?ref={DISPATCH}.0.1.0"
    head = f"POST {caller.collection} HTTP/1.1\r\nAuthorization: {caller.basic}\r\n"
    head += "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunked = f"{head}5\r\n{form[:5]}\r\n{len(form) - 5:x}\r\n{form[5:]}\r\n0\r\n\r\n".encode()
    answer = raw(caller, chunked + b"GET /control/gauge HTTP/1.1\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 201") and b'"accepted":{"email":0,"sms":1}' in answer


def test_a_client_that_asks_before_its_body_is_told_to_go_on(caller: Caller) -> None:
    sent = b"POST /control/release HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    assert raw(caller, sent).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")


def test_the_inbox_shows_each_persons_own_text_escaped(caller: Caller) -> None:
    hostile = person(1, substitutions={"%name%": "<script>alert(1)</script>"})
    caller.mail(
        mail(
            [person(0), hostile],
            content=[{"type": "text/plain", "value": "%name% http://127.0.0.1/s?a=1&b=2"}],
        )
    )
    caller.text(Body="<b>Lock</b>")
    page = caller.request("GET", "/").body.decode()
    assert "Person 0" in page and "For Person 0" in page and "&lt;b&gt;Lock&lt;/b&gt;" in page
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert '<a href="http://127.0.0.1/s?a=1&amp;b=2" rel="noreferrer">' in page
    assert page.index(THEIRS) < page.index("person1@post.example") < page.index("person0@post.example")
    assert THEIRS not in caller.request("GET", "/?channel=email").body.decode()
    filtered = caller.request("GET", "/?to=PERSON1").body.decode()
    assert "person1@post.example" in filtered and "person0@post.example" not in filtered
    assert caller.request("GET", "/?page=x&channel=fax&to=%22%3E").status == 200


def test_a_program_reads_the_inbox_as_json(caller: Caller) -> None:
    caller.mail(mail([person(0), person(1)]))
    caller.text(Body="123456 is your code")
    everything = caller.request("GET", "/control/inbox").json()["messages"]
    assert [m["channel"] for m in everything] == ["sms", "email", "email"]
    texts = caller.request("GET", f"/control/inbox?to=%2B{THEIRS[1:]}&channel=sms").json()["messages"]
    assert [m["text"] for m in texts] == ["123456 is your code"]
    mails = caller.request("GET", "/control/inbox?to=PERSON1").json()["messages"]
    assert [m["to"] for m in mails] == ["person1@post.example"]
    assert caller.request("GET", "/control/inbox?to=%22%3E&channel=fax").json() == {"messages": []}


def test_the_inbox_is_paged_and_bounded(start: Start) -> None:
    caller = start(inbox_size=100, messages_kept=20)
    caller.mail(mail([person(n) for n in range(90)]))
    assert "person89@post.example" in caller.request("GET", "/").body.decode()
    older = caller.request("GET", "/?page=1").body.decode()
    assert "person39@post.example" in older and "person40@post.example" not in older and "Newer" in older
    for n in range(30):
        caller.text(To=f"+4477009001{n:02d}")
    assert caller.gauge()["inbox"] == 30
    listed = caller.request(
        "GET", f"{caller.collection}?PageSize=1000", headers={"Authorization": caller.basic}
    )
    assert len(listed.json()["messages"]) == 20
    gone = caller.request(
        "GET", f"{caller.collection}?To=%2B447700900100", headers={"Authorization": caller.basic}
    )
    assert gone.json()["messages"] == []


def test_credentials_are_kept_from_one_start_to_the_next(start: Start, tmp_path: Path) -> None:
    first = start(state=tmp_path / "kept")
    second = start(state=tmp_path / "kept", sendgrid_key="SG.mine")
    assert first.identity.account_sid == second.identity.account_sid
    assert first.identity.public_key == second.identity.public_key
    assert second.identity.sendgrid_key == "SG.mine"
    for name in ("identity.json", "event-webhook.pem", "sandbox.json", "acceptance.jsonl"):
        assert stat.S_IMODE((tmp_path / "kept" / name).stat().st_mode) == 0o600


def test_a_sandbox_process_says_where_it_is_and_stops_when_told(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "messaging.sandbox",
        "--state",
        str(tmp_path / "s"),
        "--sender",
        f"{OURS}=40",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        said = json.loads(process.stdout.readline())
        told = json.loads((tmp_path / "s" / "sandbox.json").read_bytes())
        assert said["base_url"] == told["base_url"] == f"http://127.0.0.1:{told['port']}"
        assert told["pid"] == process.pid and "auth_token" not in said
        with socket.create_connection(("127.0.0.1", told["port"]), timeout=20) as s:
            s.sendall(b"GET /control/gauge HTTP/1.1\r\nHost: x\r\n\r\n")
            assert s.recv(1000).startswith(b"HTTP/1.1 200")
            taken = [*command, "--port", str(told["port"]), "--state", str(tmp_path / "other")]
            refused = subprocess.run(taken, cwd=ROOT, capture_output=True, text=True, check=False)
            assert refused.returncode == 1 and "could not start" in refused.stderr
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
    assert not (tmp_path / "s" / "sandbox.json").exists()


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--state", "x", "--port", "70000"],
        ["--state", "x", "--port", "-1"],
        ["--state", "x", "--sender", "nobody"],
        ["--state", "x", "--sender", "+447700900001=0"],
        ["--state", "x", "--sender-rate", "nan"],
        ["--state", "x", "--events-url", "file:///x"],
        ["--state", "x", "--delivery-delay", "-1"],
        ["--state", "x", "--receipts", "perhaps"],
    ],
)
def test_a_command_line_that_is_wrong_is_refused(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        arguments(argv)
    assert stopped.value.code == 2 and "error" in capsys.readouterr().err


def test_an_account_that_is_none_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--state", str(tmp_path), "--account-sid", "AC1"]) == 1
    assert "AC and 32" in capsys.readouterr().err


def test_the_sandbox_listens_on_loopback_only(caller: Caller) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    port = f":{caller.sandbox.port:04X}"
    addresses = {
        line.split()[1] for line in listening if line.split()[1].endswith(port) and line.split()[3] == "0A"
    }
    assert addresses == {f"0100007F{port}"}
    wait_for(lambda: caller.gauge()["open_sms"] == 0)
