"""What an officer is shown before sending is what the freeze then holds."""

from __future__ import annotations

import re

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Invalid
from app.models.alerts import KINDS
from app.models.ledger import Batch, DispatchContent
from app.models.organisations import Organisation
from app.services import dispatch, organisations, previews
from app.services.previews import Preview
from messaging import gsm7, links
from messaging.types import Channel
from tests import ledger
from tests.factories import ACTOR, Makes

BOTH = ["email", "sms"]


def one_way(makes: Makes, police: Organisation) -> None:
    organisations.add_sender(
        makes.session, [police.id], channel="sms", provider="twilio", address="MetPolice", kind="alphanumeric",
        lane="bulk", segments_per_second=1.0, actor=ACTOR,
    )  # fmt: skip


def shown_as_frozen(content: DispatchContent) -> tuple[str, str, str]:
    """What was frozen, its places filled as a preview's are."""
    samples = {
        "stop": links.sample(links.STOP, ledger.URL),
        "manage": links.sample(links.MANAGE, ledger.URL),
        "reply": links.sample(links.REPLY, ledger.URL),
        "name": "neighbour",
        "name-html": "neighbour",
    }
    parts = []
    for part in (content.subject, content.text, content.html):
        filled = re.sub(rf"\[\[([a-z-]+):{content.nonce}\]\]", lambda m: samples[m[1]], part)
        parts.append(re.sub(r"\{(stop|reply|name)\}", lambda m: samples[m[1]], filled))
    return parts[0], parts[1], parts[2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exercise", [False, True])
def test_a_preview_is_what_is_frozen_for_each_kind_channel_and_sender(
    session: Session, makes: Makes, kind: str, exercise: bool
) -> None:
    police = makes.organisation("Met <Police>")
    makes.sender(police)
    makes.sender(police, "sms")
    one_way(makes, police)
    _, ward, _ = makes.borough()
    for channel in Channel:
        for _ in range(4):
            makes.resident(police, ward, channel=channel)
    alert = makes.alert(
        police,
        [ward],
        kind=kind,
        channels=BOTH,
        how_to_tell="Ring **101**, ((name)).",
        sms_text="Hi ((name))",
    )
    shown = previews.preview(session, alert, ledger.URL, exercise=exercise)
    assert [(p.channel, p.sender_kind) for p in shown] == [
        ("email", "email"), ("sms", "alphanumeric"), ("sms", "two-way"),
    ]  # fmt: skip
    sent = dispatch.send(
        session, alert.id, token="the one token", actor=ACTOR, public_url=ledger.URL, exercise=exercise
    )
    contents = session.scalars(
        sa.select(DispatchContent)
        .where(DispatchContent.dispatch_id == sent.id)
        .order_by(DispatchContent.channel, DispatchContent.sender_kind)
    ).all()
    assert [(p.subject, p.text, p.html) for p in shown] == [shown_as_frozen(c) for c in contents]
    for preview in shown:
        assert (preview.segments is None) == (preview.channel == "email")
        if preview.segments:
            assert preview.segments == gsm7.segments(preview.text.replace("neighbour", "n" * 20))
    reserved = {
        b.reserved_segments // b.size
        for b in session.scalars(sa.select(Batch).where(Batch.dispatch_id == sent.id, Batch.channel == "sms"))
    }
    assert reserved <= {p.segments.segments for p in shown if p.segments}


def previewed(session: Session, makes: Makes, **changes: object) -> list[Preview]:
    police = makes.organisation()
    makes.sender(police)
    makes.sender(police, "sms")
    alert = makes.alert(police, [makes.borough()[1]], channels=BOTH, **changes)
    return previews.preview(session, alert, ledger.URL)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_asks_for_information_carries_a_reply_link(
    session: Session, makes: Makes, kind: str
) -> None:
    mail, text = previewed(session, makes, kind=kind)
    asks = kind in {"appeal", "missing"}
    for part in (mail.text, mail.html, text.text):
        assert (f"{ledger.URL}/r/" in part) == asks
        assert ("ell us what you know" in part) == (asks and part is not text.text)
        assert "[[" not in part and "{" not in part


def test_how_to_tell_stands_in_the_mail_whether_or_not_there_is_a_link(
    session: Session, makes: Makes
) -> None:
    mail, _ = previewed(session, makes, kind="advice", how_to_tell="Ring **101**.")
    assert "HOW TO TELL US\n\nRing 101." in mail.text
    assert "<h2>How to tell us</h2>\n<p>Ring <strong>101</strong>.</p>" in mail.html


def test_a_channel_without_a_sender_is_said_before_anything_is_sent(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    alert = makes.alert(police, [makes.borough()[1]], channels=BOTH)
    with pytest.raises(Invalid) as caught:
        previews.preview(session, alert, ledger.URL)
    assert caught.value.field == "channels"


def test_a_text_is_counted_while_it_is_written(session: Session, makes: Makes) -> None:
    police = makes.organisation("Met")
    count = previews.count_text(
        session, controller=police.id, kind="appeal", words="Did you see it?", public_url=ledger.URL
    )
    assert count.text.startswith("Met: Did you see it?\nRef WL-0000000. Reply to this text or tell us: http")
    assert count.segments.segments == 2
    short = previews.count_text(
        session, controller=police.id, kind="advice", words="Lock up.", public_url=ledger.URL
    )
    assert short.segments.segments == 1
    with pytest.raises(Invalid) as caught:
        previews.count_text(session, controller=police.id, kind="appeal", words="{reply}", public_url="")
    assert caught.value.field == "sms_text"
