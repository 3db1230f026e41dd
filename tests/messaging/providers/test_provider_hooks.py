"""What providers tell us: signatures checked both ways with their own libraries, receipts read."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator
from werkzeug.datastructures import MultiDict

from messaging.providers import sendgrid_hooks, twilio_hooks
from messaging.providers.base import is_loopback
from messaging.types import DeliveryRef, DeliveryStatus, Keyword

REF = DeliveryRef(UUID("0198c0de-0000-7000-8000-000000000001"), 7, 2, 41)
SID = "SM" + "0123456789abcdef" * 2
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
URL = f"https://wardlink.example/hooks/twilio/status?ref={REF}"


# Twilio ----------------------------------------------------------------------------------
def test_twilios_own_signature_is_accepted_and_a_changed_one_is_not():
    form = {"MessageSid": SID, "MessageStatus": "delivered", "New": "added without notice"}
    signature = RequestValidator("token").compute_signature(URL, form)
    verify = twilio_hooks.verify_signature
    assert verify("token", URL, form, signature)
    assert verify("token", URL, MultiDict(form), signature)
    assert verify("token", URL.replace(".example/", ".example:443/"), form, signature)
    assert not verify("other", URL, form, signature)
    assert not verify("token", URL + "1", form, signature)
    assert not verify("token", URL, {**form, "MessageStatus": "failed"}, signature)
    assert not verify("token", URL, form, "")
    fragment = "#rc=3&rp=ct,rt,5xx"
    with_fragment = RequestValidator("token").compute_signature(URL + fragment, form)
    assert not verify("token", URL, form, with_fragment)
    assert verify("token", URL, form, with_fragment, overrides=fragment)


@given(
    st.text(),
    st.dictionaries(st.text(), st.one_of(st.text(), st.just("\ud800"))),
    st.text(),
)
def test_no_forged_signature_passes_or_breaks_the_check(url, form, signature):
    assert not twilio_hooks.verify_signature("token", url, form, signature)


@pytest.mark.parametrize("url", ["https://a:99999/x", "https://a:port/x", "https://[::1/x"])
def test_a_hostile_address_fails_the_check(url):
    assert not twilio_hooks.verify_signature("token", url, {}, "x")


@pytest.mark.parametrize(
    ("status", "code", "expected", "reason", "suppress"),
    [
        ("queued", "", DeliveryStatus.ACCEPTED, "", None),
        ("sending", "", DeliveryStatus.ACCEPTED, "", None),
        ("sent", "", DeliveryStatus.DEFERRED, "", None),
        ("delivered", "", DeliveryStatus.DELIVERED, "", None),
        ("delivered", "30005", DeliveryStatus.DELIVERED, "", None),
        ("undelivered", "30003", DeliveryStatus.BOUNCED, "30003", None),
        ("undelivered", "30005", DeliveryStatus.BOUNCED, "30005", "bounce"),
        ("undelivered", "30006", DeliveryStatus.BOUNCED, "30006", "bounce"),
        ("failed", "21610", DeliveryStatus.BOUNCED, "21610", "stop"),
        ("failed", "<script>", DeliveryStatus.BOUNCED, "", None),
        ("failed", "", DeliveryStatus.BOUNCED, "", None),
    ],
)
def test_a_status_callback_becomes_a_receipt(status, code, expected, reason, suppress):
    form = {"MessageSid": SID, "MessageStatus": status, "ErrorCode": code}
    receipt = twilio_hooks.parse_status(str(REF), form, NOW)
    assert receipt is not None
    assert (receipt.ref, receipt.status, receipt.provider_ref) == (REF, expected, SID)
    assert (receipt.reason, receipt.suppress, receipt.at) == (reason, suppress, NOW)


@pytest.mark.parametrize(
    ("date", "at"),
    [
        ("2611221155", NOW - timedelta(minutes=5)),
        ("2611221300", NOW),
        ("2601010000", NOW),
        ("2613321155", NOW),
        ("yesterday!", NOW),
        ("٢٦١١٢٢١١٥٥", NOW),
    ],
)
def test_the_networks_date_counts_only_when_it_can_be_true(date, at):
    form = {"SmsStatus": "delivered", "SmsSid": SID, "RawDlrDoneDate": date}
    receipt = twilio_hooks.parse_status(str(REF), form, NOW)
    assert receipt is not None
    assert receipt.at == at


@pytest.mark.parametrize(
    ("ref", "status"), [("", "sent"), (str(REF) + ".1", "sent"), (str(REF), ""), (str(REF), "received")]
)
def test_a_callback_that_is_not_about_our_message_says_nothing(ref, status):
    assert twilio_hooks.parse_status(ref, {"MessageStatus": status}, NOW) is None


@given(
    st.text(), st.dictionaries(st.sampled_from(["MessageStatus", "ErrorCode", "RawDlrDoneDate"]), st.text())
)
def test_no_callback_breaks_the_parser(ref, form):
    assert twilio_hooks.parse_status(ref, form) is None or DeliveryRef.parse(ref)
    found = twilio_hooks.parse_status(str(REF), form)
    assert found is None or found.ref == REF


def test_a_text_that_somebody_wrote_is_read():
    form = {"MessageSid": SID, "From": "+447400100000", "To": "+447400000001", "Body": " Stop! \x00"}
    inbound = twilio_hooks.parse_inbound(form)
    assert (inbound.provider_ref, inbound.sender, inbound.to) == (SID, form["From"], form["To"])
    assert inbound.body == " Stop! "
    assert inbound.keyword is Keyword.STOP
    assert twilio_hooks.parse_inbound({**form, "Body": "arrêt", "OptOutType": "STOP"}).keyword is Keyword.STOP
    assert twilio_hooks.parse_inbound({**form, "Body": "thank you"}).keyword is None


@pytest.mark.parametrize("missing", ["MessageSid", "From", "To"])
def test_a_text_from_nobody_is_refused(missing):
    form = {"MessageSid": SID, "From": "+447400100000", "To": "+447400000001"}
    del form[missing]
    with pytest.raises(twilio_hooks.HookError):
        twilio_hooks.parse_inbound(form)


# SendGrid --------------------------------------------------------------------------------
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = base64.b64encode(
    KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()


def signed(body: bytes, timestamp: str = "1600112502") -> str:
    return base64.b64encode(KEY.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))).decode()


def test_sendgrids_signature_covers_every_byte_and_the_time():
    checker = sendgrid_hooks.SignatureChecker(PUBLIC)
    body = '[{"event":"délivré"}]\r\n'.encode()
    good = signed(body)
    assert checker.verify(body, good, "1600112502")
    assert not checker.verify(body.rstrip(), good, "1600112502")
    assert not checker.verify(body, good, "1600112503")
    assert not checker.verify(body, signed(body + b" "), "1600112502")


@given(st.binary(max_size=80), st.text(max_size=80), st.text(max_size=20))
def test_no_forged_events_pass_or_break_the_check(body, signature, timestamp):
    assert not sendgrid_hooks.SignatureChecker(PUBLIC).verify(body, signature, timestamp)


def test_bytes_that_are_not_utf8_fail_even_when_signed():
    body = b"[\xff]"
    assert not sendgrid_hooks.SignatureChecker(PUBLIC).verify(body, signed(body), "1600112502")


RSA = base64.b64encode(
    rsa.generate_private_key(65537, 2048)
    .public_key()
    .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
).decode()


@pytest.mark.parametrize("key", ["", "junk", "é", base64.b64encode(b"x" * 91).decode(), RSA])
def test_a_key_that_is_none_is_named_at_the_start(key):
    with pytest.raises(ValueError, match="public key"):
        sendgrid_hooks.SignatureChecker(key)


@pytest.mark.parametrize(
    ("event", "status", "reason", "suppress"),
    [
        ({"event": "processed"}, DeliveryStatus.ACCEPTED, "", None),
        ({"event": "deferred", "response": "452 a@b.example"}, DeliveryStatus.DEFERRED, "", None),
        ({"event": "delivered"}, DeliveryStatus.DELIVERED, "", None),
        ({"event": "bounce", "type": "bounce", "status": "5.1.1"}, DeliveryStatus.BOUNCED, "5.1.1", "bounce"),
        ({"event": "bounce", "type": "blocked"}, DeliveryStatus.BOUNCED, "blocked", None),
        ({"event": "bounce", "status": "for a@b.example"}, DeliveryStatus.BOUNCED, "bounce", "bounce"),
        (
            {"event": "dropped", "reason": "Bounced Address"},
            DeliveryStatus.BOUNCED,
            "dropped-bounced",
            "bounce",
        ),
        (
            {"event": "dropped", "reason": "Spam Reporting Address"},
            DeliveryStatus.BOUNCED,
            "dropped-complaint",
            "complaint",
        ),
        (
            {"event": "dropped", "reason": "Unsubscribed Address"},
            DeliveryStatus.BOUNCED,
            "dropped-unsubscribed",
            "unsubscribe",
        ),
        (
            {"event": "dropped", "reason": "Spam Content: a@b.example"},
            DeliveryStatus.BOUNCED,
            "dropped",
            None,
        ),
        ({"event": "spamreport"}, DeliveryStatus.COMPLAINED, "spam", "complaint"),
        ({"event": "unsubscribe"}, DeliveryStatus.ACCEPTED, "unsubscribed", "unsubscribe"),
        ({"event": "group_unsubscribe"}, DeliveryStatus.ACCEPTED, "unsubscribed", "unsubscribe"),
    ],
)
def test_an_event_becomes_a_receipt(event, status, reason, suppress):
    common = {
        "wl": str(REF),
        "email": "a@b.example",
        "timestamp": 1_700_000_000,
        "sg_message_id": "14c5.filter.0",
    }
    (receipt,) = sendgrid_hooks.parse_events(json.dumps([{**common, **event}]).encode())
    assert (receipt.ref, receipt.status, receipt.reason, receipt.suppress) == (REF, status, reason, suppress)
    assert (receipt.provider_ref, receipt.at) == ("14c5", datetime.fromtimestamp(1_700_000_000, UTC))


def test_only_what_is_ours_is_taken_from_an_array():
    events = [
        {"event": "delivered"},
        {"event": "delivered", "wl": 5},
        {"event": "delivered", "wl": "nonsense"},
        {"event": "click", "wl": str(REF)},
        {"event": ["delivered"], "wl": str(REF)},
        "delivered",
        None,
        {"event": "delivered", "wl": str(REF), "timestamp": 10**30},
        {"event": "processed", "wl": str(REF), "timestamp": True},
    ]
    receipts = sendgrid_hooks.parse_events(json.dumps(events).encode(), NOW)
    assert [(r.status, r.at) for r in receipts] == [
        (DeliveryStatus.DELIVERED, NOW),
        (DeliveryStatus.ACCEPTED, NOW),
    ]


@pytest.mark.parametrize("body", [b"", b"{}", b"nonsense", b"\xff", b"[" * 5000])
def test_a_body_that_is_no_array_is_named(body):
    with pytest.raises(sendgrid_hooks.EventsError):
        sendgrid_hooks.parse_events(body)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(str(REF))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
KEYS = st.sampled_from(["event", "wl", "timestamp", "status", "reason", "type", "sg_message_id"])
NAMES = st.sampled_from(["bounce", "dropped", "delivered", "deferred"])


@given(st.lists(st.dictionaries(KEYS, VALUES | NAMES)))
def test_no_events_break_the_parser(events):
    body = json.dumps(events).encode()
    try:
        sendgrid_hooks.parse_events(body, NOW)
    except sendgrid_hooks.EventsError:  # NaN, infinities and lone surrogates are not JSON
        assert b"NaN" in body or b"Infinity" in body or b"\\u" in body


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:7801", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:80", True),
        ("http://localhost:1", True),
        ("https://api.twilio.com", False),
        ("http://127.0.0.1.example.com", False),
        ("http://127.0.0.1@evil.example", False),
        ("http://localhost.evil.example", False),
        ("http://0.0.0.0:80", False),
        ("http://[::1", False),
        ("", False),
    ],
)
def test_only_this_machine_is_loopback(url, loopback):
    assert is_loopback(url) is loopback


def test_the_web_process_never_pays_for_twilios_rest_client():
    program = (
        "import sys, messaging.providers.twilio_hooks, messaging.providers.twilio\n"
        "sys.exit(any(name.startswith('twilio.rest') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
