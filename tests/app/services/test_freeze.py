"""When somebody gets a message that is not urgent: quiet hours, weekly caps and digests at the freeze."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.areas import Area
from app.models.deferral import ContactSend, DigestItem
from app.models.ledger import Batch
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.services import audience, deferral, dispatch, freeze, people, preferences
from app.services.ledger import check
from app.services.preferences import Preferences
from messaging.types import Channel
from tests import plans
from tests.app.services.test_london_hours import LONDON
from tests.factories import ACTOR, Makes

URL = "http://127.0.0.1:8000"
NOON = datetime(2027, 2, 3, 12, 0, tzinfo=LONDON)  # a Wednesday
NIGHT = Preferences(quiet_from=22, quiet_until=7)


@dataclass
class Town:
    """One ward of one organisation, with senders in both channels."""

    makes: Makes
    police: Organisation
    ward: Area

    def resident(self, wanted: Preferences | None = None, channel: Channel = Channel.EMAIL) -> ContactPoint:
        made = self.makes.resident(self.police, self.ward, channel=channel)
        if wanted is not None:
            preferences.choose(self.makes.session, made, wanted, actor=ACTOR)
        return made

    def send(self, now: datetime, **changes: object) -> UUID:
        more = {k: changes.pop(k) for k in ("exercise", "not_before") if k in changes}
        alert = self.makes.alert(self.police, [self.ward], channels=["email", "sms"], **changes)
        return dispatch.send(
            self.makes.session,
            alert.id,
            token=f"token-{next(self.makes.numbers):06d}",
            actor=ACTOR,
            public_url=URL,
            now=now,
            **more,  # type: ignore[arg-type]
        ).id


def new_town(makes: Makes) -> Town:
    police = makes.organisation()
    makes.sender(police)
    makes.sender(police, "sms")
    return Town(makes, police, makes.borough()[1])


@pytest.fixture
def town(makes: Makes) -> Town:
    return new_town(makes)


def due(session: Session, sent: UUID) -> dict[int, datetime]:
    """Contact id → when its batch may leave."""
    batches = session.scalars(sa.select(Batch).where(Batch.dispatch_id == sent))
    return {contact: one.not_before for one in batches for contact in one.contact_ids}


def items(session: Session, sent: UUID) -> dict[int, datetime]:
    found = session.scalars(sa.select(DigestItem).where(DigestItem.dispatch_id == sent))
    return {one.contact_id: one.due_at for one in found}


def at(day: int, hour: int, minute: int = 0, month: int = 2) -> datetime:
    return datetime(2027, month, day, hour, minute, tzinfo=LONDON)


def test_in_quiet_hours_a_message_waits_until_they_end_and_urgent_ones_do_not(
    session: Session, town: Town
) -> None:
    sleeper, texter = town.resident(NIGHT), town.resident(NIGHT, Channel.SMS)
    awake = town.resident()
    late = at(3, 23, 30)
    sent = town.send(late)
    assert due(session, sent) == {awake.id: late, sleeper.id: at(4, 7), texter.id: at(4, 7)}
    for urgency in ("urgent", "risk-to-life"):
        assert set(due(session, town.send(late, urgency=urgency)).values()) == {late}
    [line, by_text] = check.balance(session, sent)
    assert line.balances and by_text.balances
    assert line.waiting == 2


def test_what_may_leave_now_may_not_leave_once_quiet_hours_have_begun(session: Session, town: Town) -> None:
    one = town.resident(NIGHT)
    sent = town.send(NOON)
    [batch] = session.scalars(sa.select(Batch).where(Batch.dispatch_id == sent))
    assert (batch.contact_ids, batch.not_before, batch.not_after) == ([one.id], NOON, at(3, 22))


def test_a_message_that_is_over_before_the_quiet_hours_are_waits_to_expire(
    session: Session, town: Town
) -> None:
    town.resident(NIGHT)
    sent = town.send(at(3, 23), expires_at=at(4, 6))
    [batch] = session.scalars(sa.select(Batch).where(Batch.dispatch_id == sent))
    assert (batch.not_before, batch.expires_at, batch.not_after) == (at(4, 6), at(4, 6), None)


def test_a_message_for_later_is_measured_by_when_it_is_to_leave(session: Session, town: Town) -> None:
    one = town.resident(NIGHT)
    assert due(session, town.send(NOON, not_before=at(3, 23))) == {one.id: at(4, 7)}
    assert due(session, town.send(at(3, 23), not_before=at(4, 9))) == {one.id: at(4, 9)}


@pytest.mark.parametrize(
    ("evening", "morning"),
    [
        (datetime(2027, 3, 27, 23, 0, tzinfo=LONDON), datetime(2027, 3, 28, 7, 0, tzinfo=LONDON)),
        (datetime(2026, 10, 24, 23, 0, tzinfo=LONDON), datetime(2026, 10, 25, 7, 0, tzinfo=LONDON)),
    ],
)
def test_in_the_nights_when_the_clocks_change_quiet_hours_end_by_the_clock_on_the_wall(
    session: Session, town: Town, evening: datetime, morning: datetime
) -> None:
    one = town.resident(NIGHT)
    assert due(session, town.send(evening)) == {one.id: morning}
    # Seven and nine hours long.
    assert (morning.astimezone(LONDON).hour, (morning.timestamp() - evening.timestamp()) / 3600) in [
        (7, 7.0),
        (7, 9.0),
    ]


# -- caps
def test_over_the_cap_an_e_mail_goes_into_one_digest_when_there_is_room_and_a_text_waits(
    session: Session, town: Town
) -> None:
    capped = town.resident(Preferences(weekly_cap=2))
    texter = town.resident(Preferences(weekly_cap=2), Channel.SMS)
    times = [at(1, 10), at(2, 10), at(3, 10), at(4, 10)]
    sent = [town.send(moment) for moment in times]
    assert [due(session, one).get(capped.id) for one in sent] == [times[0], times[1], None, None]
    # A week after the first of the two; what came on top comes in the same digest and counts once.
    assert [items(session, one).get(capped.id) for one in sent] == [None, None, at(8, 10), at(8, 10)]
    # A text has no digest: it waits, and this one is over long before there is room.
    assert due(session, sent[2])[texter.id] == times[2] + timedelta(days=2)
    counted = session.execute(
        sa.select(ContactSend.contact_id, ContactSend.at).order_by(ContactSend.contact_id, ContactSend.at)
    ).all()
    both = {capped.id: [times[0], times[1], at(8, 10)], texter.id: [times[0], times[1]]}
    assert {(row.contact_id, row.at) for row in counted} == {(who, t) for who in both for t in both[who]}
    assert all(line.balances for one in sent for line in check.balance(session, one))


def test_a_text_over_the_cap_leaves_when_there_is_room(session: Session, town: Town) -> None:
    one = town.resident(Preferences(weekly_cap=1), Channel.SMS)
    town.send(at(1, 10, 17))
    assert due(session, town.send(at(7, 9))) == {one.id: at(8, 10, 30)}  # the next half hour
    assert due(session, town.send(at(8, 11))) == {one.id: at(10, 11)}, "one that waits counts: over by then"


def test_urgent_messages_do_not_count(session: Session, town: Town) -> None:
    one = town.resident(Preferences(weekly_cap=1))
    for _ in range(3):
        assert one.id in due(session, town.send(NOON, urgency="urgent"))
    assert due(session, town.send(NOON)) == {one.id: NOON}


def test_a_week_is_a_week_of_the_wall_clock(session: Session, town: Town) -> None:
    one = town.resident(Preferences(weekly_cap=1), Channel.SMS)
    town.send(at(25, 9, month=3))
    sent = town.send(at(31, 12, month=3))
    assert due(session, sent) == {one.id: at(1, 9, month=4)}, (
        "not ten o'clock: the clocks changed on the 28th"
    )


# -- digests
def test_a_digest_gathers_what_comes_until_its_hour(session: Session, town: Town) -> None:
    daily = town.resident(Preferences(digest="daily", digest_hour=18))
    weekly = town.resident(Preferences(digest="weekly", digest_hour=8, digest_weekday=1))
    sent = town.send(NOON)
    assert items(session, sent) == {daily.id: at(3, 18), weekly.id: at(8, 8)}
    assert due(session, sent) == {}
    assert items(session, town.send(at(3, 18, 30))) == {daily.id: at(4, 18), weekly.id: at(8, 8)}
    [line] = check.balance(session, sent)
    assert (line.recipients, line.digested, line.waiting, line.unaccounted) == (2, 2, 0, 0)
    assert line.balances
    # An urgent one comes at once.
    urgent = town.send(NOON, urgency="urgent")
    assert set(due(session, urgent)) == {daily.id, weekly.id}


def test_a_daily_digest_keeps_to_a_weekly_cap(session: Session, town: Town) -> None:
    one = town.resident(Preferences(weekly_cap=2, digest="daily", digest_hour=18))
    due_at = [items(session, town.send(at(day, 12)))[one.id] for day in range(1, 12)]
    first_two, then = [at(1, 18), at(2, 18)], [at(8, 18)] * 6 + [at(9, 18)] * 1
    assert due_at[:9] == [*first_two, *then]


def test_a_weekly_digest_with_a_cap_of_one_comes_each_week_even_when_the_clocks_change(
    session: Session, town: Town
) -> None:
    one = town.resident(Preferences(weekly_cap=1, digest="weekly", digest_hour=9, digest_weekday=7))
    found = [items(session, town.send(at(day, 12, month=3)))[one.id] for day in (15, 22, 28)]
    assert found == [at(21, 9, month=3), at(28, 9, month=3), at(4, 9, month=4)]


# -- all together
def test_a_forecast_says_what_the_freeze_will_do_and_takes_nothing(session: Session, town: Town) -> None:
    for wanted in (None, NIGHT, NIGHT, Preferences(digest="daily", digest_hour=18)):
        town.resident(wanted)
    town.resident(Preferences(quiet_from=22, quiet_until=12), Channel.SMS)
    alert = town.makes.alert(town.police, [town.ward], channels=["email", "sms"])
    who = audience.parse(
        alert.audience, controller=town.police.id, topic=alert.topic, channels=alert.channels
    )
    found = deferral.forecast(session, who, starts=at(3, 23), expires_at=at(4, 9))
    assert (found.later, found.digest, found.too_late) == (2, 1, 1)
    assert session.scalar(sa.select(sa.func.count()).select_from(DigestItem)) == 0
    assert deferral.forecast(session, who, starts=NOON, expires_at=at(4, 9)) == deferral.Forecast(0, 1, 0)


def test_those_who_share_quiet_hours_share_batches(session: Session, town: Town) -> None:
    for wanted in (NIGHT, NIGHT, NIGHT, Preferences(quiet_from=23, quiet_until=7), None, None):
        town.resident(wanted)
    sent = town.send(at(3, 23, 30))
    batches = session.scalars(sa.select(Batch).where(Batch.dispatch_id == sent).order_by(Batch.n)).all()
    assert [(b.n, b.size, b.quiet_from) for b in batches] == [(0, 2, None), (1, 3, 22), (2, 1, 23)]


def test_erasure_takes_preferences_and_counts_and_leaves_the_place_in_a_digest_accounted_for(
    session: Session, town: Town
) -> None:
    one = town.resident(Preferences(weekly_cap=3, digest="daily", digest_hour=18))
    sent = town.send(NOON)
    people.erase(session, one.id, actor=ACTOR)
    for table in ("contact_preferences", "contact_sends"):
        assert session.scalar(sa.text(f"SELECT count(*) FROM {table}")) == 0
    assert list(items(session, sent)) == [one.id]
    assert all(line.balances for line in check.balance(session, sent))


def test_postgresql_may_share_the_audience_among_its_processes(session: Session, town: Town) -> None:
    session.execute(sa.text("SET LOCAL debug_parallel_query = on"))  # whatever it would cost
    with plans.noting(session) as noted:
        town.send(at(3, 12))
    asked = [(s, p) for s, p in noted if "everybody AS" in s]
    assert len(asked) == 1
    assert "Gather" in {n["Node Type"].removesuffix(" Merge") for n in plans.explained(session, *asked[0])}


def test_an_audience_of_many_batches_keeps_every_batch_and_every_person(
    session: Session, town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(freeze, "BATCH_SIZE", 2)
    everybody = {town.resident().id for _ in range(9)}
    sent = town.send(at(3, 12))
    batches = session.scalars(sa.select(Batch).where(Batch.dispatch_id == sent).order_by(Batch.n)).all()
    assert [b.n for b in batches] == list(range(5))
    assert [len(b.contact_ids) for b in batches] == [b.size for b in batches] == [2, 2, 2, 2, 1]
    assert {i for b in batches for i in b.contact_ids} == everybody
