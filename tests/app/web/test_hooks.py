"""What the providers tell us: kept once when they signed it, refused when they did not."""

from __future__ import annotations

import json
from urllib.parse import parse_qs
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.services import receipts
from messaging.providers.twilio import CALLBACK_OVERRIDES
from messaging.types import DeliveryRef
from tests.app.web.conftest import FORM, PUBLIC_URL, open_site

REF = str(DeliveryRef(UUID("0198c0de-0000-7000-8000-000000000001"), 7, 2, 41))
STATUS = f"/hooks/twilio/status?ref={REF}"
INBOUND = "/hooks/twilio/inbound"
SID = "SM" + "0123456789abcdef" * 2
DELIVERED = {"MessageSid": SID, "MessageStatus": "delivered", "Empty": ""}
TEXT = {
    "MessageSid": SID,
    "From": "+447700900001",
    "To": "+447700900002",
    "Body": "Stop, please: 1 & 2 = 3 ✓",
}
EVENTS = json.dumps(
    [{"event": "delivered", "wl": REF, "email": "é@people.example"}], ensure_ascii=False
).encode()


def test_a_status_callback_is_kept_once_with_the_reference_of_its_address(site):
    answer = site.twilio(STATUS, DELIVERED)
    assert (answer.status_code, answer.data) == (204, b"")
    ((source, body),) = site.events()
    assert source == "twilio-status"
    assert parse_qs(body, keep_blank_values=True) == {
        k: [v] for k, v in (DELIVERED | {"wl_ref": REF}).items()
    }


def test_a_signature_over_the_callbacks_overrides_is_twilios_too(site):
    assert site.twilio(STATUS, DELIVERED, fragment=CALLBACK_OVERRIDES).status_code == 204
    assert len(site.events()) == 1


def test_a_reference_in_the_form_does_not_take_the_place_of_the_one_in_the_address(site):
    assert site.twilio(STATUS, DELIVERED | {"wl_ref": "another"}).status_code == 204
    ((_, body),) = site.events()
    assert parse_qs(body)["wl_ref"] == [REF]


def test_a_text_from_a_phone_is_kept_and_answered_by_nothing(site):
    answer = site.twilio(INBOUND, TEXT)
    assert answer.status_code == 200
    assert answer.mimetype == "text/xml"
    assert answer.text.endswith("<Response/>")
    ((source, body),) = site.events()
    assert source == "twilio-inbound"
    assert parse_qs(body) == {k: [v] for k, v in TEXT.items()}


def test_events_of_sendgrid_are_kept_as_they_came(site):
    assert site.sendgrid(EVENTS).status_code == 204
    assert site.events() == [("sendgrid", EVENTS.decode())]


def test_the_same_call_twice_is_two_raw_events(site):
    assert {site.sendgrid(EVENTS).status_code for _ in range(2)} == {204}
    assert len(site.events()) == 2


@pytest.mark.parametrize("path", [STATUS, INBOUND])
def test_what_twilio_did_not_sign_is_refused_and_not_kept(site, path):
    assert site.twilio(path, DELIVERED, token="another").status_code == 403
    assert site.twilio(path, DELIVERED, public="https://elsewhere.example").status_code == 403
    assert site.client.post(path, data={"MessageSid": SID}).status_code == 403
    tampered = site.twilio(path, DELIVERED).request.headers["X-Twilio-Signature"]
    before = site.events()
    answer = site.client.post(
        path, data={"MessageStatus": "failed"}, headers={"X-Twilio-Signature": tampered}
    )
    assert answer.status_code == 403
    assert site.events() == before


def test_a_signature_holds_for_one_reference_only(site):
    signature = site.twilio(STATUS, DELIVERED).request.headers["X-Twilio-Signature"]
    answer = site.client.post(STATUS + "1", data=DELIVERED, headers={"X-Twilio-Signature": signature})
    assert answer.status_code == 403
    assert len(site.events()) == 1


def test_what_sendgrid_did_not_sign_is_refused_and_not_kept(site):
    assert site.sendgrid(EVENTS, key=ec.generate_private_key(ec.SECP256R1())).status_code == 403
    assert site.client.post("/hooks/sendgrid/events", data=EVENTS).status_code == 403
    assert site.events() == []


def test_without_a_token_or_a_key_nothing_is_believed(committed):
    site = open_site(committed, TWILIO_AUTH_TOKEN="", SENDGRID_WEBHOOK_KEY="")
    try:
        assert site.twilio(INBOUND, TEXT, token="").status_code == 403
        assert site.sendgrid(EVENTS).status_code == 403
        assert site.events() == []
    finally:
        site.registry.engine.dispose()


@pytest.mark.parametrize("body", [b"[\xff]", b"[\x00]", b"\xed\xa0\x80"])
def test_events_that_are_not_text_are_unreadable_even_when_signed(site, body):
    assert site.sendgrid(body).status_code == 400
    assert site.events() == []


@pytest.mark.parametrize("body", [b"Body=%FF", b"Body=%ED%A0%80", b"Body=\xff"])
def test_a_form_that_is_not_utf8_is_unreadable(site, body):
    assert site.client.post(INBOUND, data=body, content_type=FORM).status_code == 400
    assert site.events() == []


def test_a_body_that_is_too_large_is_refused_whatever_its_signature(site):
    assert site.sendgrid(b" " * (receipts.LONGEST_BODY + 1)).status_code == 413
    many = b"&".join(b"a=%d" % n for n in range(500))
    assert site.client.post(INBOUND, data=many, content_type=FORM).status_code == 413
    assert site.client.post(INBOUND, data=b"{}", content_type="application/json").status_code == 415
    assert site.events() == []


def test_a_null_character_in_a_form_is_kept_in_its_percent_form(site):
    assert site.twilio(INBOUND, TEXT | {"Body": "a\x00b"}).status_code == 200
    ((_, body),) = site.events()
    assert "a%00b" in body


def test_the_address_that_was_signed_is_the_public_one_whatever_the_host_header_says(site):
    good = site.twilio(INBOUND, TEXT).request.headers["X-Twilio-Signature"]
    answer = site.client.post(
        INBOUND, data=TEXT, headers={"X-Twilio-Signature": good, "Host": "10.0.0.7:8000"}
    )
    assert answer.status_code == 200
    assert PUBLIC_URL not in answer.text


def test_webhooks_answer_only_to_post(site):
    for path in (STATUS, INBOUND, "/hooks/sendgrid/events"):
        answer = site.client.get(path)
        assert answer.status_code == 405
        assert "POST" in answer.headers["Allow"]
