"""Faults on demand: each must strike as asked, and show in the gauge and in the log as it should."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sendgrid.helpers.eventwebhook import EventWebhook
from twilio.request_validator import RequestValidator

from messaging.sandbox import judge

from .conftest import OURS, Caller, Start, Webhook, mail, person, wait_for


def logged(caller: Caller) -> int:
    return sum(len(a.to) for a in judge.read(caller.sandbox.log_path))


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def test_a_status_strikes_the_next_calls_and_then_no_more(caller: Caller) -> None:
    caller.faults(
        email={"status": {"code": 429, "times": 2, "retry_after": 3}},
        sms={"status": {"code": 503, "times": 1}},
    )
    first, second, third = (caller.mail(mail()) for _ in range(3))
    assert [first.status, second.status, third.status] == [429, 429, 202]
    assert first.headers["retry-after"] == "3" and first.json()["errors"]
    refused = caller.text()
    assert (refused.status, refused.json()["code"]) == (503, 20500)
    assert caller.text().status == 201
    assert logged(caller) == 2


def test_a_429_of_twilio_has_its_code(caller: Caller) -> None:
    caller.faults(sms={"status": {"code": 429, "retry_after": 0.5}})
    answer = caller.text()
    assert (answer.status, answer.json()["code"], answer.headers["retry-after"]) == (429, 20429, "0.5")


def test_a_share_strikes_some_calls(caller: Caller) -> None:
    caller.faults(sms={"status": {"code": 500, "share": 0.5}})
    statuses = [caller.text().status for _ in range(60)]
    assert set(statuses) == {500, 201} and 5 < statuses.count(500) < 55


def test_latency_passes_before_the_answer(caller: Caller) -> None:
    caller.faults(sms={"latency_ms": 150})
    began = time.monotonic()
    assert caller.text().status == 201
    assert time.monotonic() - began >= 0.15


@pytest.mark.parametrize(("when", "accepted"), [("before", 0), ("after", 1)])
def test_a_dropped_call_has_no_answer_and_the_log_says_if_it_was_taken(
    caller: Caller, when: str, accepted: int
) -> None:
    caller.faults(email={"drop": {"when": when, "times": 1}}, sms={"drop": {"when": when, "times": 1}})
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        caller.mail(mail())
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        caller.text()
    assert logged(caller) == 2 * accepted
    assert caller.mail(mail()).status == 202
    assert caller.gauge()["open_mail"] == caller.gauge()["open_sms"] == 0


def test_a_hanging_call_is_open_until_its_client_leaves(caller: Caller) -> None:
    caller.faults(email={"hang": {"times": 1}})
    connection = http.client.HTTPConnection("127.0.0.1", caller.sandbox.port)
    connection.request("POST", "/v3/mail/send", b"{}", {"Content-Type": "application/json"})
    wait_for(lambda: caller.gauge()["open_mail"] == 1, "the open call")
    connection.close()
    wait_for(lambda: caller.gauge()["open_mail"] == 0, "the end of the call")
    assert logged(caller) == 0


@pytest.mark.parametrize(("when", "accepted"), [("before", 0), ("after", 1)])
def test_held_calls_stay_open_until_released(
    caller: Caller, threads: ThreadPoolExecutor, when: str, accepted: int
) -> None:
    caller.faults(email={"hold": when}, sms={"hold": {"when": when}})
    letters = threads.submit(caller.mail, mail())
    texts = [threads.submit(caller.text, To=f"+44770090010{n}") for n in range(5)]
    gauge = wait_for(lambda: (g := caller.gauge())["held"] == {"email": 1, "sms": 5} and g, "all held")
    assert (gauge["open_mail"], gauge["open_sms"]) == (1, 5)
    assert gauge["accepted"] == {"email": accepted, "sms": 5 * accepted}
    assert logged(caller) == 6 * accepted
    assert caller.control("POST", "release", {"channel": "sms", "stay": True}).json() == {
        "released": {"sms": 5}
    }
    assert [t.result(20).status for t in texts] == [201] * 5
    again = threads.submit(caller.text)
    wait_for(lambda: caller.gauge()["held"]["sms"] == 1, "the next one held")
    assert caller.control("POST", "release").json() == {"released": {"email": 1, "sms": 1}}
    assert (letters.result(20).status, again.result(20).status) == (202, 201)
    assert caller.mail(mail()).status == 202 and logged(caller) == 8


def test_a_hold_can_begin_when_enough_were_accepted(caller: Caller, threads: ThreadPoolExecutor) -> None:
    caller.faults(email={"hold": {"when": "after", "start": 3, "times": 1}})
    assert caller.mail(mail([person(n) for n in range(3)])).status == 202
    held = threads.submit(caller.mail, mail([person(4)]))
    wait_for(lambda: caller.gauge()["open_mail"] == 1, "the held call")
    assert caller.mail(mail([person(5)])).status == 202
    caller.control("DELETE", "faults")
    assert held.result(20).status == 202


def test_a_client_that_leaves_a_call_held_before_acceptance_was_not_taken(caller: Caller) -> None:
    caller.faults(sms={"hold": "before"})
    connection = http.client.HTTPConnection("127.0.0.1", caller.sandbox.port)
    connection.request("POST", caller.collection, b"To=1", {"Authorization": caller.basic})
    wait_for(lambda: caller.gauge()["held"]["sms"] == 1, "the held call")
    connection.close()
    wait_for(lambda: caller.gauge()["held"]["sms"] == 0, "the end of the call")
    assert caller.control("POST", "release").json()["released"]["sms"] == 0
    assert logged(caller) == 0


def test_receipts_are_withheld(start: Start, webhook: Webhook) -> None:
    caller = start(events_url=webhook.url)
    caller.faults(email={"receipts": {"withhold": 0.5}}, sms={"receipts": {"withhold": True}})
    caller.text(StatusCallback=webhook.url)
    caller.mail(mail([person(n) for n in range(200)]))
    gauge = wait_for(
        lambda: (g := caller.gauge())["callbacks_pending"] == 0 and g["timers"] == 0 and webhook.posts and g
    )
    events = webhook.events()
    assert gauge["accepted"] == {"email": 200, "sms": 1}
    assert 100 < len(events) < 300 and {e["event"] for e in events} == {"processed", "delivered"}


def test_receipts_are_doubled(start: Start, webhook: Webhook) -> None:
    caller = start(events_url=webhook.url)
    caller.faults(email={"receipts": {"double": 1}}, sms={"receipts": {"double": True}})
    caller.mail(mail())
    wait_for(lambda: len(webhook.events()) == 4)
    assert len({e["sg_event_id"] for e in webhook.events()}) == 2
    webhook.posts.clear()
    caller.text(StatusCallback=webhook.url)
    assert sorted(p.form["MessageStatus"] for p in webhook.wait(4)) == ["delivered"] * 2 + ["sent"] * 2


def test_receipts_come_in_the_wrong_order(start: Start, webhook: Webhook) -> None:
    caller = start(events_url=webhook.url, delivery_delay=0.1)
    caller.faults(email={"receipts": {"reorder": True}}, sms={"receipts": {"reorder": True}})
    caller.mail(mail())
    wait_for(lambda: len(webhook.events()) == 2)
    assert [e["event"] for e in webhook.events()] == ["delivered", "processed"]
    webhook.posts.clear()
    caller.text(StatusCallback=webhook.url)
    assert [p.form["MessageStatus"] for p in webhook.wait(2)] == ["delivered", "sent"]


def test_forged_receipts_do_not_verify(start: Start, webhook: Webhook) -> None:
    caller = start(events_url=webhook.url)
    caller.faults(email={"receipts": {"forge": True}}, sms={"receipts": {"forge": True}})
    caller.mail(mail())
    verifier = EventWebhook(caller.identity.public_key)
    honest = [
        verifier.verify_signature(
            p.body.decode(),
            p.signature_header("X-Twilio-Email-Event-Webhook-Signature"),
            p.signature_header("X-Twilio-Email-Event-Webhook-Timestamp"),
        )
        for p in webhook.wait(4)
    ]
    assert sorted(honest) == [False, False, True, True]
    wait_for(lambda: caller.gauge()["callbacks_pending"] == 0)
    webhook.posts.clear()
    caller.text(StatusCallback=webhook.url + "/s")
    twilio = RequestValidator(caller.identity.auth_token)
    signed = [
        twilio.validate(webhook.url + "/s", p.form, p.signature_header("X-Twilio-Signature"))
        for p in webhook.wait(4)
    ]
    assert sorted(signed) == [False, False, True, True]


def test_recipients_can_be_refused_by_list(caller: Caller) -> None:
    caller.faults(
        email={"recipients": {"refuse": ["malformed"]}},
        sms={"recipients": {"opted_out": ["123"], "invalid": ["124"]}},
    )
    errors = caller.mail(mail([person(0), person(1, "malformed@post.example")])).json()["errors"]
    assert [e["field"] for e in errors] == ["personalizations.1.to"]
    assert caller.text(To="+447700900123").json()["code"] == 21610
    assert caller.text(To="+447700900124").json()["code"] == 21211
    assert caller.text(To="+447700900125").status == 201


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ([], "object"),
        ({"fax": {}}, "not a channel"),
        ({"sms": []}, "object"),
        ({"sms": {"latency": 1}}, "not a fault"),
        ({"sms": {"latency_ms": -1}}, "from 0"),
        ({"sms": {"latency_ms": True}}, "number"),
        ({"sms": {"status": {"code": 200}}}, "from 400"),
        ({"sms": {"status": []}}, "true or an object"),
        ({"sms": {"hold": "during"}}, "not a moment"),
        ({"sms": {"hold": {"until": 1}}}, "not a part of hold"),
        ({"sms": {"drop": {"share": 2}}}, "from 0 to 1"),
        ({"sms": {"receipts": {"forge": 1}}}, "true or false"),
        ({"sms": {"receipts": {"eat": 1}}}, "not a receipts fault"),
        ({"sms": {"receipts": 1}}, "object"),
        ({"sms": {"recipients": {"bounce": ["1"]}}}, "not a kind"),
        ({"sms": {"recipients": {"stop": "1"}}}, "list"),
        ({"sms": {"recipients": []}}, "lists"),
    ],
)
def test_a_fault_that_is_not_understood_is_refused_and_changes_nothing(
    caller: Caller, asked: object, words: str
) -> None:
    before = caller.control("GET", "faults").json()
    answer = caller.control("POST", "faults", asked)
    assert answer.status == 400 and words in answer.json()["message"]
    assert caller.control("GET", "faults").json() == before


def test_clearing_puts_everything_right(caller: Caller) -> None:
    quiet = caller.control("GET", "faults").json()
    caller.faults(email={"status": 500, "recipients": {"bounce": ["x"]}}, sms={"latency_ms": 1, "hang": True})
    assert caller.control("GET", "faults").json() != quiet
    assert caller.control("DELETE", "faults").json() == quiet
    assert caller.mail(mail()).status == 202


@pytest.mark.parametrize(
    ("method", "what", "asked"),
    [
        ("POST", "release", {"channel": "fax"}),
        ("POST", "release", {"stay": 1}),
        ("POST", "release", []),
        ("POST", "inbound", {"from": "1", "to": OURS, "body": "x"}),
        ("POST", "inbound", {"from": "+447700900123", "to": 1, "body": "x"}),
        ("POST", "inbound", "x"),
        ("GET", "counts?dispatch=1", None),
        ("GET", "log?from=x", None),
    ],
)
def test_other_control_requests_are_checked_too(
    caller: Caller, method: str, what: str, asked: object
) -> None:
    answer = caller.control(method, what, asked)
    assert answer.status == 400 and answer.json()["message"]


def test_an_unknown_control_request_is_not_found(caller: Caller) -> None:
    assert caller.control("GET", "secrets").status == 404
