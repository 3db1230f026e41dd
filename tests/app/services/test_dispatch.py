"""Freezing an alert: who, once each, and what it says."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, Missing
from app.models.alerts import Alert
from app.models.ledger import Batch, Dispatch, DispatchContent
from app.services import audience, consent, dispatch
from app.services.ledger import check
from messaging.types import Channel
from tests.factories import ACTOR, Makes

URL = "http://127.0.0.1:8000"


def send(session: Session, alert: Alert, token: str = "token-0001", **more: object) -> dispatch.Frozen:
    return dispatch.send(session, alert.id, token=token, actor=ACTOR, public_url=URL, **more)  # type: ignore[arg-type]


def frozen_ids(session: Session, of: dispatch.Frozen) -> list[int]:
    batches = session.scalars(sa.select(Batch).where(Batch.dispatch_id == of.id).order_by(Batch.n))
    return [contact for batch in batches for contact in batch.contact_ids]


def test_a_dispatch_holds_exactly_those_who_live_there_agreed_and_did_not_stop(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    makes.sender(police)
    _, here, there = makes.borough()
    yes = [makes.resident(police, here) for _ in range(3)]
    makes.resident(police, there)
    makes.resident(police, here, agreed=False)
    makes.resident(police, here, topics=["events"])
    makes.resident(police, here, confirmed_at=None)
    stopped = makes.resident(police, here)
    consent.leave(session, stopped.id, police.id, how="test", actor=ACTOR)
    left_topic = makes.resident(police, here)
    consent.suppress(
        session, channel="email", digest=left_topic.digest, digest_key=1, controller=police.id,
        reason="stop", topic="incidents and appeals",
    )  # fmt: skip
    elsewhere = makes.resident(police, here)
    consent.suppress(
        session, channel="email", digest=elsewhere.digest, digest_key=1, controller=makes.organisation().id,
        reason="stop",
    )  # fmt: skip
    sent = send(session, makes.alert(police, [here]))
    assert sorted(frozen_ids(session, sent)) == sorted([*(c.id for c in yes), elsewhere.id])
    assert sent.recipients == 4


def test_two_places_and_two_people_at_one_address_are_one_recipient(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    borough, here, there = makes.borough()
    first = makes.resident(police, here, address="Home@people.example")
    second = makes.resident(police, there, address="home@PEOPLE.example")
    assert first.id == second.id
    sent = send(session, makes.alert(police, [borough, here]))
    assert frozen_ids(session, sent) == [first.id]


def test_an_excluded_ward_is_left_out_of_its_borough(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    borough, here, there = makes.borough()
    stays = makes.resident(police, here)
    makes.resident(police, there)
    alert = makes.alert(
        police, [], audience_expression={"areas": [borough.code], "except_areas": [there.code]}
    )
    assert frozen_ids(session, send(session, alert)) == [stays.id]


def test_a_count_before_sending_says_what_the_freeze_finds(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    makes.sender(police, "sms")
    borough, here, _ = makes.borough()
    for _ in range(3):
        makes.resident(police, here)
    makes.resident(police, here, channel=Channel.SMS)
    alert = makes.alert(police, [borough], channels=["email", "sms"])
    who = audience.parse(alert.audience, controller=police.id, topic=alert.topic, channels=alert.channels)
    assert audience.count(session, who) == {"email": 3, "sms": 1}
    assert send(session, alert).recipients == 4


def test_a_double_click_is_one_dispatch(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    _, here, _ = makes.borough()
    makes.resident(police, here)
    alert = makes.alert(police, [here])
    first, second = send(session, alert), send(session, alert)
    assert (second.id, second.repeated) == (first.id, True)
    assert (
        session.scalar(sa.select(sa.func.count()).select_from(Dispatch).where(Dispatch.alert_id == alert.id))
        == 1
    )


def test_a_token_of_another_alert_is_refused(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    _, here, _ = makes.borough()
    send(session, makes.alert(police, [here]))
    with pytest.raises(Conflict):
        send(session, makes.alert(police, [here]))


def test_sms_batches_keep_a_person_with_one_number_and_reserve_segments(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    senders = [makes.sender(police, "sms") for _ in range(3)]
    _, here, _ = makes.borough()
    for _ in range(30):
        makes.resident(police, here, channel=Channel.SMS)
    alert = makes.alert(police, [here], channels=["sms"])
    sent = send(session, alert)
    batches = session.scalars(sa.select(Batch).where(Batch.dispatch_id == sent.id)).all()
    order = sorted(s.id for s in senders)
    for batch in batches:
        assert {contact % 3 for contact in batch.contact_ids} == {order.index(batch.sender_id)}
        assert batch.reserved_segments == batch.size
    assert sent.recipients == sum(b.size for b in batches)


def test_an_urgent_alert_takes_the_urgent_senders(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    urgent = makes.sender(police, lane="urgent")
    _, here, _ = makes.borough()
    makes.resident(police, here)
    sent = send(session, makes.alert(police, [here], urgency="urgent"))
    batch = session.scalars(sa.select(Batch).where(Batch.dispatch_id == sent.id)).one()
    assert (batch.sender_id, batch.lane) == (urgent.id, 0)


def test_without_a_sender_nothing_is_frozen(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, here, _ = makes.borough()
    alert = makes.alert(police, [here])
    with pytest.raises(Invalid, match="no e-mail address to send from"):
        send(session, alert)


def test_an_exercise_says_so_in_every_channel(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    makes.sender(police, "sms")
    _, here, _ = makes.borough()
    sent = send(session, makes.alert(police, [here], channels=["email", "sms"]), exercise=True)
    contents = session.scalars(sa.select(DispatchContent).where(DispatchContent.dispatch_id == sent.id)).all()
    assert {c.channel for c in contents} == {"email", "sms"}
    assert all("EXERCISE" in (c.subject or c.text) for c in contents)


def test_an_unknown_area_is_refused_rather_than_shrinking_the_audience(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    with pytest.raises(Invalid, match="No area of today"):
        makes.alert(police, [], audience_expression={"areas": ["E05999999"]})


def test_a_stop_of_an_unknown_dispatch_is_missing(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    with pytest.raises(Missing):
        dispatch.stop(session, police.id, actor=ACTOR, why="wrong")


def test_a_fresh_dispatch_balances_with_everybody_waiting(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    _, here, _ = makes.borough()
    for _ in range(5):
        makes.resident(police, here)
    sent = send(session, makes.alert(police, [here]))
    (line,) = check.balance(session, sent.id)
    assert (line.recipients, line.waiting, line.unaccounted, line.problems) == (5, 5, 0, ())
