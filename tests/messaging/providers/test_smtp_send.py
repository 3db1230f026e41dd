"""Mail by SMTP: what each step that fails allows to conclude, and what every message says."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from messaging.providers.single import filler
from messaging.providers.smtp import SmtpProvider, _message
from messaging.sandbox import judge
from messaging.sandbox.embed import running
from messaging.sandbox.server import Sandbox
from messaging.sandbox.settings import SandboxConfig
from messaging.types import DeliveryRef, EmailCall, Outcome, SendResult

HOST = "127.0.0.1"


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    with running(SandboxConfig(state=tmp_path, receipts=False, second=True)) as made:
        yield made


def sent(url: str, call: EmailCall, timeout: float = 2.0, **more: object) -> SendResult:
    return asyncio.run(SmtpProvider(url).send(call, timeout, **more))  # type: ignore[arg-type]


def taken(sandbox: Sandbox) -> list[str]:
    return [address for one in judge.read(sandbox.log_path) for address in one.to]


def outcomes(result: SendResult) -> dict[int, Outcome]:
    return {ordinal: one.outcome for ordinal, one in result.each.items()}


def test_everybody_gets_a_message_of_their_own_that_carries_our_reference(sandbox, mail) -> None:
    call = mail(3)
    result = sent(sandbox.smtp.url(HOST), call)
    assert result.outcome is Outcome.TAKEN
    assert outcomes(result) == dict.fromkeys(range(3), Outcome.TAKEN)
    log = list(judge.read(sandbox.log_path))
    assert [one.to for one in log] == [[p.address] for p in call.recipients]
    assert [one.refs for one in log] == [[str(DeliveryRef(call.dispatch, 7, 2, n))] for n in range(3)]


def test_a_message_is_what_mail_programs_expect_and_its_places_are_filled(mail) -> None:
    call = mail(2)
    person = call.recipients[1]
    raw = _message(call, person, filler(person.substitutions))
    assert raw is not None
    assert raw.endswith(b"\r\n.\r\n")
    assert not raw.replace(b"\r\n", b"").count(b"\n")
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    made = message_from_bytes(raw.removesuffix(b".\r\n"), policy=policy.SMTP)
    assert made["To"] == person.address
    assert "alerts@police.example" in made["From"]
    assert made["Message-ID"] == f"<{DeliveryRef(call.dispatch, 7, 2, 1)}@police.example>"
    assert made["List-Unsubscribe"] == f"<{person.stop_url}>"
    assert made["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert made["Reply-To"] == "team@police.example"
    assert made["Date"]
    assert made["Auto-Submitted"] is None
    text, html = (made.get_body((kind,)).get_content() for kind in ("plain", "html"))
    assert "Ann <b>" in text
    assert "Ann &lt;b&gt;" in html
    for part in (text, html, made["Subject"]):
        assert not any(tag in part for tag in person.substitutions)


def test_a_code_to_one_person_has_no_list_to_leave(sandbox, mail) -> None:
    call = mail(1)
    person = call.recipients[0]._replace(stop_url="")
    assert (
        sent(sandbox.smtp.url(HOST), dataclasses.replace(call, recipients=[person])).outcome is Outcome.TAKEN
    )


def test_a_line_that_begins_with_a_dot_arrives_with_one(sandbox, mail) -> None:
    call = mail(1)
    dotted = dataclasses.replace(call.content, text=".\n..\n.hidden\n", html="<p>.</p>\n.\n")
    assert sent(sandbox.smtp.url(HOST), dataclasses.replace(call, content=dotted)).outcome is Outcome.TAKEN
    shown = sandbox._inbox.newest("channel=email")[0]
    assert str(shown["text"]).splitlines() == [".", "..", ".hidden"]


@pytest.mark.parametrize(
    ("faults", "outcome", "reason", "reached"),
    [
        ({"status": 550}, Outcome.REFUSED, "rcpt-550", 0),
        ({"status": 451}, Outcome.NOT_TAKEN, "rcpt-451", 0),
        ({"status": 421}, Outcome.NOT_TAKEN, "421", 0),
        ({"drop": "before"}, Outcome.NOT_TAKEN, "reset", 0),
        ({"drop": "after"}, Outcome.IN_DOUBT, "reset", 1),
        ({"hang": True}, Outcome.IN_DOUBT, "timeout", 0),
        ({"hold": "after"}, Outcome.IN_DOUBT, "timeout", 1),
    ],
)
def test_the_step_that_failed_says_what_may_follow(
    sandbox, mail, faults: dict, outcome: Outcome, reason: str, reached: int
) -> None:
    sandbox.faults.apply({"smtp": faults})
    result = sent(sandbox.smtp.url(HOST), mail(1), timeout=0.3)
    assert (result.outcome, result.each[0].outcome, result.each[0].reason) == (outcome, outcome, reason)
    assert len(taken(sandbox)) == reached


def test_one_that_is_refused_costs_the_others_nothing(sandbox, mail) -> None:
    sandbox.faults.apply({"smtp": {"recipients": {"refuse": ["person1@people.example"]}}})
    result = sent(sandbox.smtp.url(HOST), mail(3))
    assert outcomes(result) == {0: Outcome.TAKEN, 1: Outcome.REFUSED, 2: Outcome.TAKEN}
    assert taken(sandbox) == ["Person0@people.example", "Person2@people.example"]


@pytest.mark.parametrize("fault", [{"hang": {"start": 2}}, {"drop": {"when": "after", "start": 3}}])
def test_of_a_call_that_breaks_one_person_is_in_doubt_and_those_not_come_to_are_not_named(
    sandbox, mail, fault: dict
) -> None:
    sandbox.faults.apply({"smtp": fault})
    result = sent(sandbox.smtp.url(HOST), mail(10), timeout=0.5)
    assert result.outcome is Outcome.IN_DOUBT
    assert outcomes(result) == {0: Outcome.TAKEN, 1: Outcome.TAKEN, 2: Outcome.IN_DOUBT}


def test_an_address_that_no_mail_server_takes_is_refused_and_a_foreign_domain_is_written_as_it_must(
    sandbox, mail
) -> None:
    call = mail(3)
    people = [
        call.recipients[0]._replace(address="zoë@people.example"),
        call.recipients[1]._replace(address="ann@bücher.example"),
        call.recipients[2]._replace(address="a b>@people.example"),
    ]
    result = sent(sandbox.smtp.url(HOST), dataclasses.replace(call, recipients=people))
    assert outcomes(result) == {0: Outcome.REFUSED, 1: Outcome.TAKEN, 2: Outcome.REFUSED}
    assert taken(sandbox) == ["ann@xn--bcher-kva.example"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda url: url.replace("relay:", "nobody:"), "account"),
        (lambda url: f"smtp://u:p@{HOST}:1", "connect"),
        (lambda url: "smtps://u:p@no-such-host.invalid:465", "dns"),
        (lambda url: url.replace("smtp://", "smtps://"), "tls"),
    ],
)
def test_who_was_not_reached_or_let_in_has_taken_nothing(
    sandbox, mail, change: Callable[[str], str], reason: str
) -> None:
    call = mail(2)
    people = [p._replace(synthetic=False) for p in call.recipients]
    result = sent(change(sandbox.smtp.url(HOST)), dataclasses.replace(call, recipients=people))
    assert (result.outcome, result.retryable, result.each) == (Outcome.NOT_TAKEN, True, {})
    assert result.reason == reason or (reason == "dns" and result.reason == "connect-timeout")
    assert taken(sandbox) == []


def test_nobody_made_up_leaves_this_machine(mail) -> None:
    result = sent("smtps://u:p@mail.invalid:465", mail(2))
    assert (result.outcome, dict(result.rejected)) == (Outcome.NOT_TAKEN, {0: "synthetic", 1: "synthetic"})


def test_no_message_begins_after_the_deadline(sandbox, mail) -> None:
    answers = iter([True, True, False])
    result = sent(sandbox.smtp.url(HOST), mail(5), may_start=lambda: next(answers))
    assert outcomes(result) == {0: Outcome.TAKEN, 1: Outcome.TAKEN}
    late = sent(sandbox.smtp.url(HOST), mail(5), may_start=lambda: False)
    assert (late.outcome, late.reason, late.each) == (Outcome.NOT_TAKEN, "deadline", {})
    assert len(taken(sandbox)) == 2


def test_no_secret_is_shown(sandbox) -> None:
    assert sandbox.identity.smtp_password not in repr(SmtpProvider(sandbox.smtp.url(HOST)))
    with pytest.raises(ValueError, match="looks like smtps"):
        SmtpProvider("https://mail.example")
