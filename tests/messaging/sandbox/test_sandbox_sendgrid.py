"""The sandbox as SendGrid: every rule of mail/send, and the event webhook with its signature."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sendgrid.helpers.eventwebhook import EventWebhook

from messaging.sandbox import judge

from .conftest import DISPATCH, Caller, Start, Webhook, mail, person, wait_for

OFF = {"enable": False}
ON = {"enable": True}


def test_a_call_of_1000_is_taken_and_logged_once(caller: Caller) -> None:
    answer = caller.mail(mail([person(n) for n in range(1000)]))
    assert (answer.status, answer.body) == (202, b"") and answer.headers["x-message-id"]
    (accepted,) = judge.read(caller.sandbox.log_path)
    assert accepted.id == answer.headers["x-message-id"]
    assert accepted.refs[7] == f"{DISPATCH}.0.1.7" and accepted.to[7] == "person7@post.example"
    assert caller.gauge()["accepted"] == {"email": 1000, "sms": 0}


BAD_CALLS: list[tuple[dict[str, Any], str]] = [
    (mail([]), "personalizations"),
    (mail([person(n) for n in range(1001)]), "personalizations"),
    (mail(personalizations=None), "personalizations"),
    (mail([person(n, cc=[{"email": f"c{n}@post.example"}]) for n in range(501)]), "personalizations"),
    (mail([person(0), person(1, to=[])]), "personalizations.1.to"),
    (mail([person(0), person(1, "no address")]), "personalizations.1.to"),
    (mail([person(0), person(1, "a..b@post.example")]), "personalizations.1.to"),
    (mail([person(0), person(1, "a@" + "x" * 64 + ".example")]), "personalizations.1.to"),
    (mail([person(0), person(1, "a" * 65 + "@post.example")]), "personalizations.1.to"),
    (mail([person(0), person(1, to=[{"email": 7}])]), "personalizations.1.to"),
    (mail([person(0), person(1), person(2, "PERSON1@post.example")]), "personalizations.2.to"),
    (mail([person(0, cc=[{"email": "person0@POST.example"}])]), "personalizations.0.to"),
    (mail([person(0, bcc=[{"email": "x"}])]), "personalizations.0.bcc"),
    (mail([person(0, to=[{"email": "a@b.example", "name": "A; B"}])]), "personalizations.0.to.name"),
    (mail([person(0, substitutions={"%n%": "x" * 9_998})]), "personalizations.0.substitutions"),
    (mail([person(0, substitutions={"%n%": "é" * 5_000})]), "personalizations.0.substitutions"),
    (mail([person(0, substitutions={"%n%": 7})]), "personalizations.0.substitutions"),
    (mail([person(0, custom_args={"wl": "x" * 9_998})]), "personalizations.0.custom_args"),
    (mail([person(0, custom_args={"wl": 7})]), "personalizations.0.custom_args"),
    (mail([person(0, custom_args=["wl"])]), "personalizations.0.custom_args"),
    (mail([person(0, subject="")]), "personalizations.0.subject"),
    (mail(subject=None), "personalizations.0.subject"),
    (mail(subject=""), "subject"),
    (mail([person(0, headers={})]), "personalizations.0.headers"),
    (mail([person(0, headers={"List-Unsubscribe": "<mailto:a@b.example>"})]), "personalizations.0.headers"),
    (
        mail([person(0, headers={"List-Unsubscribe": "<https://a.example>", "To": "x"})]),
        "personalizations.0.headers",
    ),
    (mail(headers=None), "personalizations.0.headers"),
    (mail(headers={"Reply-To": "x", "List-Unsubscribe-Post": "List-Unsubscribe=One-Click"}), "headers"),
    (mail([7]), "personalizations.0"),  # type: ignore[list-item]
    (mail(**{"from": None}), "from.email"),
    (mail(**{"from": {"email": "x"}}), "from.email"),
    (mail(**{"from": {"email": "a@b.example", "name": "A, B"}}), "from.name"),
    (mail(reply_to={"email": "x"}), "reply_to.email"),
    (mail(content=None), "content"),
    (mail(content=[{"type": "text/plain", "value": ""}]), "content.0.value"),
    (mail(content=[{"type": "", "value": "x"}]), "content.0.type"),
    (mail(content=["x"]), "content.0"),
    (mail(categories=[str(n) for n in range(11)]), "categories"),
    (mail(categories=["a", "a"]), "categories"),
    (mail(tracking_settings=None), "tracking_settings.click_tracking"),
    (
        mail(tracking_settings={"click_tracking": ON, "open_tracking": OFF}),
        "tracking_settings.click_tracking",
    ),
    (mail(tracking_settings={"click_tracking": OFF}), "tracking_settings.open_tracking"),
    (
        mail(tracking_settings={"click_tracking": OFF, "open_tracking": OFF, "subscription_tracking": ON}),
        "tracking_settings.subscription_tracking",
    ),
]


@pytest.mark.parametrize(("call", "field"), BAD_CALLS, ids=[f"{n}-{f}" for n, (_, f) in enumerate(BAD_CALLS)])
def test_each_rule_refuses_the_whole_call_and_names_the_field(
    caller: Caller, call: dict[str, Any], field: str
) -> None:
    answer = caller.mail(call)
    assert answer.status == 400
    assert field in [e["field"] for e in answer.json()["errors"]], answer.body
    assert all(set(e) == {"message", "field", "help"} for e in answer.json()["errors"])
    assert caller.sandbox.log_path.read_bytes() == b""


def test_all_bad_recipients_of_a_call_are_named_at_once(caller: Caller) -> None:
    people = [person(n, "bad" if n in (3, 8) else "") for n in range(10)]
    fields = [e["field"] for e in caller.mail(mail(people)).json()["errors"]]
    assert fields == ["personalizations.3.to", "personalizations.8.to"]


def test_substitutions_of_exactly_10000_bytes_are_taken(caller: Caller) -> None:
    assert caller.mail(mail([person(0, substitutions={"%n%": "x" * 9_997})])).status == 202
    one_click = {
        "List-Unsubscribe": "<https://a.example>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }
    assert caller.mail(mail([person(0, headers=one_click)], headers=None)).status == 202


def test_mail_of_no_list_goes_without_a_stop_link_to_one_person_and_to_no_more(caller: Caller) -> None:
    alone = [person(0, "stop+1@post.example", headers={})]
    assert caller.mail(mail(alone, headers={})).status == 202  # nothing to press for who wants to leave
    assert caller.mail(mail([person(0, headers={}), person(1, headers={})], headers={})).status == 400
    assert caller.mail(mail(alone)).status == 400  # one click is promised, and there is no link


def test_a_wrong_key_a_wrong_type_and_a_wrong_method_are_refused(caller: Caller) -> None:
    kind = {"Content-Type": "application/json"}
    key = {"Authorization": f"Bearer {caller.identity.sendgrid_key}"}
    assert caller.request("POST", "/v3/mail/send", b"{}", kind).status == 401
    assert caller.request("POST", "/v3/mail/send", b"{}", {**kind, "Authorization": "Bearer x"}).status == 401
    assert caller.request("POST", "/v3/mail/send", b"{}", {**key, "Content-Type": "text/plain"}).status == 415
    assert caller.request("GET", "/v3/mail/send", headers=key).status == 405
    for body in (b"{", b"[]", b"null", b'"x"', b"\xff"):
        assert caller.request("POST", "/v3/mail/send", body, {**kind, **key}).status == 400


def test_a_mail_of_30_megabytes_is_refused(caller: Caller) -> None:
    answer = caller.mail(mail(content=[{"type": "text/plain", "value": "x" * 30_000_000}]))
    assert answer.status == 413
    assert caller.gauge()["accepted"]["email"] == 0


def test_events_are_signed_as_sendgrid_signs_and_carry_our_reference(start: Start, webhook: Webhook) -> None:
    caller = start(events_url=webhook.url + "/events")
    people = [person(n) for n in range(600)]
    people[1]["to"][0]["email"] = "bounce+1@post.example"
    people[2]["to"][0]["email"] = "x.complain@post.example"
    people[3]["to"][0]["email"] = "christopher@post.example"
    people[4]["to"][0]["email"] = "drop@post.example"
    people[5]["to"][0]["email"] = "a-defer-b@post.example"
    message_id = caller.mail(mail(people)).headers["x-message-id"]
    wait_for(lambda: len(webhook.events()) == 600 + 599 + 2, "all events")
    verifier = EventWebhook(caller.identity.public_key)
    for post in webhook.posts:
        signature = post.signature_header("X-Twilio-Email-Event-Webhook-Signature")
        timestamp = post.signature_header("X-Twilio-Email-Event-Webhook-Timestamp")
        assert post.body.endswith(b"\r\n") and len(json.loads(post.body)) <= 500
        assert verifier.verify_signature(post.body.decode(), signature, timestamp)
        assert not verifier.verify_signature(post.body.decode().strip(), signature, timestamp)
    by_ref: dict[str, list[str]] = {}
    for event in webhook.events():
        by_ref.setdefault(event["wl"], []).append(event["event"])
        assert event["sg_message_id"].startswith(message_id) and len(event["sg_event_id"]) <= 100
    assert sorted(by_ref) == sorted(f"{DISPATCH}.0.1.{n}" for n in range(600))
    lives = {n: by_ref[f"{DISPATCH}.0.1.{n}"] for n in range(6)}
    assert lives == {
        0: ["processed", "delivered"],
        1: ["processed", "bounce"],
        2: ["processed", "delivered", "spamreport"],
        3: ["processed", "delivered"],
        4: ["dropped"],
        5: ["processed", "deferred", "delivered"],
    }
    assert len({e["sg_event_id"] for e in webhook.events()}) == 1201


def test_events_that_were_not_taken_come_again(start: Start, webhook: Webhook) -> None:
    caller = start(events_url=webhook.url)
    webhook.statuses = [500, 403]
    caller.mail(mail())
    wait_for(lambda: caller.gauge()["callbacks_delivered"] == 2, "both posts in the end")
    assert len(webhook.posts) == 4
    ids = [e["sg_event_id"] for e in webhook.events()]
    assert len(ids) == 4 and len(set(ids)) == 2


def test_events_are_tried_with_growing_gaps_until_sendgrids_day_is_over(
    start: Start, webhook: Webhook
) -> None:
    caller = start(events_url=webhook.url, event_day=1.5, event_longest_gap=60.0, delivery_delay=0.0)
    webhook.statuses = [503] * 1_000
    caller.mail(mail())
    gauge = wait_for(lambda: (g := caller.gauge())["callbacks_pending"] == 0 and g, "the end of the day")
    assert gauge["callbacks_delivered"] == 0 and gauge["callbacks_failed"] >= 1
    # Doubling from a 172,800th of the day: some 18 tries, not hundreds.
    assert 12 <= len(webhook.posts) / gauge["callbacks_failed"] <= 19
    assert (
        len({post.signature_header("X-Twilio-Email-Event-Webhook-Signature") for post in webhook.posts})
        == (gauge["callbacks_failed"])
    ), "what was signed once comes again as it was"


def test_a_stop_address_presses_the_mail_programs_button_on_this_machine_only(
    start: Start, webhook: Webhook
) -> None:
    caller = start()
    people = [
        person(0, "stop+1@post.example", headers={"List-Unsubscribe": f"<{webhook.url}/stop/1>"}),
        person(1, "stop+2@post.example", headers={"List-Unsubscribe": "<http://198.51.100.7/stop/2>"}),
        person(2, "other@post.example", headers={"List-Unsubscribe": f"<{webhook.url}/stop/3>"}),
    ]
    assert caller.mail(mail(people)).status == 202
    (post,) = webhook.wait()
    assert (post.path, post.body) == ("/stop/1", b"List-Unsubscribe=One-Click")
    gauge = wait_for(lambda: (g := caller.gauge())["callbacks_pending"] == 0 and g)
    assert (gauge["callbacks_delivered"], gauge["callbacks_failed"]) == (1, 0)
