"""The sandbox as Twilio: its own library, its error codes, its queue, its signatures."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from messaging.sandbox.segments import segments

from .conftest import DISPATCH, OURS, THEIRS, Caller, Start, Webhook, wait_for


def test_twilios_own_client_creates_fetches_and_lists(start: Start) -> None:
    caller = start()
    client = Client(caller.identity.account_sid, caller.identity.auth_token)
    client.api.base_url = caller.sandbox.url
    made = [
        client.messages.create(to=THEIRS, from_=OURS, body=f"Number {n}", validity_period=60)
        for n in range(5)
    ]
    assert re.fullmatch(r"SM[0-9a-f]{32}", made[0].sid) and made[0].status == "queued"
    assert made[0].num_segments == "1" and made[0].direction == "outbound-api"
    fetched = client.messages(made[3].sid).fetch()
    assert (fetched.to, fetched.from_, fetched.body) == (THEIRS, OURS, "Number 3")
    listed = client.messages.list(to=THEIRS, page_size=2)
    assert [m.sid for m in listed] == [m.sid for m in reversed(made)]
    assert client.messages.list(to="+447700900999") == []
    now = datetime.now(UTC)
    assert len(client.messages.list(from_=OURS, date_sent_after=now - timedelta(minutes=1))) == 5
    assert client.messages.list(from_=OURS, date_sent_before=now - timedelta(days=1)) == []


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"To": ""}, 400, 21604),
        ({"From": ""}, 400, 21603),
        ({"Body": ""}, 400, 21602),
        ({"To": "07700900123"}, 400, 21211),
        ({"To": "+44 7700 900123"}, 400, 21211),
        ({"From": "A sender too long"}, 400, 21212),
        ({"From": "123"}, 400, 21212),
        ({"To": OURS}, 400, 21266),
        ({"Body": "x" * 1601}, 400, 21617),
        ({"StatusCallback": "ftp://a.example/x"}, 400, 21609),
        ({"StatusCallback": "http://under_score.example/x"}, 400, 21609),
        ({"StatusCallback": "http://127.0.0.1/\u00e9 x"}, 400, 21609),
        ({"ValidityPeriod": "0"}, 400, 20001),
        ({"ValidityPeriod": "36001"}, 400, 20001),
        ({"ValidityPeriod": "soon"}, 400, 20001),
        ({"MessagingServiceSid": "MG12"}, 400, 21701),
    ],
)
def test_each_rule_is_refused_with_its_code(
    caller: Caller, fields: dict[str, str], status: int, code: int
) -> None:
    answer = caller.text(**fields)
    assert (answer.status, answer.json()["code"], answer.json()["status"]) == (status, code, status)
    assert caller.sandbox.log_path.read_bytes() == b""


def test_wrong_credentials_and_json_bodies_are_refused(caller: Caller) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = caller.request("POST", caller.collection, b"To=1", {**headers, "Authorization": "Basic eDp5"})
    assert answer.status == 401 and answer.json()["code"] == 20003
    assert caller.request("GET", caller.collection).status == 401
    json_headers = {"Authorization": caller.basic, "Content-Type": "application/json"}
    assert caller.request("POST", caller.collection, b"{}", json_headers).status == 415
    assert (
        caller.request(
            "POST", caller.collection, b"To=%ff", {**headers, "Authorization": caller.basic}
        ).status
        == 400
    )


@pytest.mark.parametrize("query", ["PageSize=x", "Page=-1", "DateSent=yesterday", "DateSent%3E=2026-13-01"])
def test_a_list_with_a_bad_query_is_refused(caller: Caller, query: str) -> None:
    answer = caller.request("GET", f"{caller.collection}?{query}", headers={"Authorization": caller.basic})
    assert answer.status == 400


def test_an_unknown_message_is_not_found(caller: Caller) -> None:
    path = caller.collection.replace("Messages.json", f"Messages/SM{'0' * 32}.json")
    answer = caller.request("GET", path, headers={"Authorization": caller.basic})
    assert answer.status == 404 and answer.json()["code"] == 20404


def test_status_callbacks_are_signed_as_twilio_signs(start: Start, webhook: Webhook) -> None:
    caller = start()
    callback = f"{webhook.url}/hooks/twilio?ref={DISPATCH}.0.1.7"
    sid = caller.text(StatusCallback=callback + "#rc=2&rp=all").json()["sid"]
    posts = webhook.wait(2)
    assert [p.form["MessageStatus"] for p in posts] == ["sent", "delivered"]
    validator = RequestValidator(caller.identity.auth_token)
    for post in posts:
        signature = post.signature_header("X-Twilio-Signature")
        assert validator.validate(callback, post.form, signature)
        assert not validator.validate(callback, {**post.form, "To": OURS}, signature)
        assert post.form["MessageSid"] == post.form["SmsSid"] == sid
        assert (post.form["To"], post.form["From"]) == (THEIRS, OURS)
        assert post.path == f"/hooks/twilio?ref={DISPATCH}.0.1.7"
    assert re.fullmatch(r"\d{10}", posts[1].form["RawDlrDoneDate"]) and "RawDlrDoneDate" not in posts[0].form


def test_a_failed_callback_is_tried_again_only_as_the_fragment_asks(start: Start, webhook: Webhook) -> None:
    caller = start()
    webhook.statuses = [503, 503]
    caller.text(StatusCallback=f"{webhook.url}/twice#rc=2&rp=5xx", To="+447700900201")
    wait_for(lambda: caller.gauge()["callbacks_delivered"] == 2 or None, "both callbacks")
    assert len(webhook.posts) == 4
    webhook.statuses = [503, 503]
    caller.text(StatusCallback=f"{webhook.url}/never", To="+447700900202")
    wait_for(lambda: caller.gauge()["callbacks_failed"] == 2, "both failures")
    assert len(webhook.posts) == 6


def test_a_webhook_that_is_away_costs_nothing_but_its_callbacks(start: Start) -> None:
    caller = start()
    caller.text(StatusCallback="http://127.0.0.1:1/nobody#rc=0")
    wait_for(lambda: caller.gauge()["callbacks_failed"] == 2, "both failures")
    assert caller.text().status == 201


def test_a_webhook_that_hangs_up_after_each_answer_still_gets_all(start: Start, webhook: Webhook) -> None:
    caller = start()
    webhook.hangs_up = True
    for n in range(30):
        assert caller.text(StatusCallback=f"{webhook.url}/{n}#rc=0", To=f"+4477009001{n:02d}").status == 201
    webhook.wait(60)
    gauge = wait_for(lambda: (g := caller.gauge())["callbacks_pending"] == 0 and g)
    assert (gauge["callbacks_delivered"], gauge["callbacks_failed"]) == (60, 0)


def test_undelivered_numbers_name_their_error(start: Start, webhook: Webhook) -> None:
    caller = start()
    caller.faults(sms={"recipients": {"undelivered": ["123"], "unknown": ["+447700900124"]}})
    caller.text(StatusCallback=webhook.url, To="+447700900123")
    caller.text(StatusCallback=webhook.url, To="+447700900124")
    forms = [p.form for p in webhook.wait(4)]
    ends = {f["To"]: (f["MessageStatus"], f["ErrorCode"]) for f in forms if f["MessageStatus"] != "sent"}
    assert ends == {"+447700900123": ("undelivered", "30003"), "+447700900124": ("undelivered", "30005")}


def test_a_sender_queue_leaves_at_its_rate_and_validity_ends_the_wait(start: Start, webhook: Webhook) -> None:
    caller = start(senders={OURS: 0.5})
    first, second = (
        caller.text(StatusCallback=f"{webhook.url}/{n}", ValidityPeriod="1", To=f"+44770090010{n}").json()[
            "sid"
        ]
        for n in (1, 2)
    )
    ends = wait_for(
        lambda: (
            {p.form["MessageSid"]: p.form for p in list(webhook.posts)}.keys() >= {first, second}
            and {p.form["MessageSid"]: p.form for p in list(webhook.posts)}
        ),
        "news of both",
    )
    assert (ends[second]["MessageStatus"], ends[second]["ErrorCode"]) == ("failed", "30036")
    assert ends[first]["MessageStatus"] in ("sent", "delivered")


def test_a_queue_of_ten_hours_takes_no_more(start: Start) -> None:
    caller = start(senders={OURS: 0.0001})
    assert caller.text(Body="x" * 800).status == 201
    answer = caller.text()
    assert (answer.status, answer.json()["code"]) == (429, 21611)
    assert caller.text(From="+447700900002").status == 201


def test_stop_opts_a_number_out_of_one_sender_until_start(start: Start, webhook: Webhook) -> None:
    caller = start(inbound_url=webhook.url + "/inbound")
    caller.control("POST", "inbound", {"from": THEIRS, "to": OURS, "body": " stop "})
    assert caller.text().json()["code"] == 21610
    assert caller.text(From="+447700900002").status == 201
    caller.control("POST", "inbound", {"from": THEIRS, "to": OURS, "body": "Start"})
    assert caller.text().status == 201
    caller.control("POST", "inbound", {"from": THEIRS, "to": OURS, "body": "help"})
    caller.control("POST", "inbound", {"from": THEIRS, "to": OURS, "body": "STOP PLEASE"})
    assert caller.text().status == 201
    posts = webhook.wait(4)
    assert {p.form["Body"]: p.form.get("OptOutType") for p in posts} == {
        " stop ": "STOP",
        "Start": "START",
        "help": "HELP",
        "STOP PLEASE": None,
    }
    validator = RequestValidator(caller.identity.auth_token)
    for post in posts:
        signature = post.signature_header("X-Twilio-Signature")
        assert validator.validate(webhook.url + "/inbound", post.form, signature)


def test_a_number_can_text_stop_after_it_received_one(start: Start, webhook: Webhook) -> None:
    caller = start(inbound_url=webhook.url)
    caller.faults(sms={"recipients": {"stop": [THEIRS]}})
    assert caller.text().status == 201
    (post,) = webhook.wait()
    assert (post.form["From"], post.form["To"], post.form["OptOutType"]) == (THEIRS, OURS, "STOP")
    assert caller.text().json()["code"] == 21610


def test_a_message_can_leave_by_a_messaging_service(caller: Caller) -> None:
    made = caller.text(From="", MessagingServiceSid="MG" + "a" * 32).json()
    assert (made["status"], made["from"], made["num_segments"]) == ("accepted", None, "0")


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" + "a" * 153, 3),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 66 + "😀" + "ж" * 67, 3),
        ("£10 at Bow", 1),
        ("", 1),
    ],
)
def test_segments_are_counted_as_a_carrier_counts(body: str, count: int) -> None:
    assert segments(body) == count
