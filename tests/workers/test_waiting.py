"""Messages that wait, through the real engine and the sandbox: two nights in which the clocks change, sends at once."""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from app.db import utc_now
from app.models.areas import Area
from app.models.deferral import ContactSend, DigestItem
from app.models.ledger import Dispatch, DispatchContent
from app.models.organisations import Organisation
from app.models.people import ContactPoint
from app.services import consent, deferral, digests, dispatch, preferences
from app.services.ledger import attempts
from app.services.preferences import Preferences
from messaging.sandbox import judge
from messaging.types import Channel, DeliveryRef, DeliveryStatus
from tests.conftest import Database
from tests.factories import ACTOR, Makes
from tests.sending import URL, World, world

LONDON = ZoneInfo("Europe/London")
HOUR = timedelta(hours=1)
REFERENCE = re.compile(r"/alert/(WL-\w+)")


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path) as made:
        yield made


def town(makes: Makes) -> tuple[Organisation, Area]:
    police = makes.organisation()
    for channel in Channel:
        for lane in ("bulk", "urgent"):
            makes.sender(police, channel, lane=lane)
    return police, makes.borough()[1]


def at(*moment: int) -> datetime:
    return datetime(*moment, tzinfo=LONDON).astimezone(UTC)  # type: ignore[arg-type]


# -- nights
WISHES = (
    None,
    Preferences(quiet_from=22, quiet_until=7),
    Preferences(quiet_from=1, quiet_until=2),
    Preferences(quiet_from=0, quiet_until=1),
    Preferences(quiet_from=2, quiet_until=8, weekly_cap=1),
    Preferences(weekly_cap=2),
    Preferences(quiet_from=23, quiet_until=6, digest="daily", digest_hour=6),
    Preferences(digest="daily", digest_hour=20),
    Preferences(weekly_cap=1, digest="weekly", digest_hour=9, digest_weekday=7),
)
PEOPLE = 200


class Clock:
    """Runs a world by a clock of its own: what the scheduler and a worker do, hour by hour."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.log = here.sandbox.log_path
        self.got: dict[str, list[tuple[datetime, DeliveryRef]]] = defaultdict(list)  # address → when, what

    def tick(self, now: datetime, *, working: bool = True) -> None:
        with self.here.worker.sessions.begin() as session:
            deferral.put_off(session, now=now)
            digests.send_due(session, public_url=URL, now=now)
        if working:
            self._work(now)

    def _work(self, now: datetime) -> None:
        """The engine goes by the database's clock: for its turn, all that waits is moved to where that stands."""
        before = self.log.stat().st_size if self.log.exists() else 0
        ahead = utc_now() - now
        self._shift(ahead)
        self.here.drain()
        self._shift(-ahead)
        for accepted in judge.read(self.log, before):
            for ref, address in zip(accepted.refs, accepted.to, strict=True):
                self.got[address].append((now, DeliveryRef.parse(ref)))

    def _shift(self, by: timedelta) -> None:
        self.here.run(
            "UPDATE batches SET not_before = not_before + :by, not_after = not_after + :by, "
            "expires_at = expires_at + :by WHERE state = 'waiting'",
            by=by,
        )


def issue(here: World, police: UUID, ward: str, now: datetime, urgency: str = "routine") -> UUID:
    with here.making() as makes:
        alert = makes.alert(
            Organisation(id=police), [Area(code=ward)], channels=["email", "sms"], urgency=urgency
        )
        return here.send(makes, alert, now=now)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("noon", [(2027, 3, 27, 12), (2027, 10, 30, 12)], ids=["spring", "autumn"])
def test_through_the_night_when_the_clocks_change_everybody_gets_everything_at_their_hour(
    here: World, noon: tuple[int, ...]
) -> None:
    people: dict[str, Preferences] = {}
    with here.making() as makes:
        police, ward = town(makes)
        for n in range(PEOPLE):
            channel = Channel.SMS if n % 4 == 0 else Channel.EMAIL
            wants = WISHES[n // 4 % len(WISHES)]
            if wants is not None and wants.digest != "none" and channel is Channel.SMS:
                wants = Preferences(weekly_cap=1)
            one = makes.resident(police, ward, channel=channel)
            people[one.address] = wants or preferences.NONE
            if wants is not None:
                preferences.choose(makes.session, one, wants, actor=ACTOR)
    clock = Clock(here)
    begin = at(*noon)
    issued: dict[UUID, tuple[datetime, str]] = {}
    for hour in range(54):
        now = begin + hour * HOUR
        # By day, in the evening, and in the hours around the change.
        for when, urgency in (
            (0, "routine"), (9, "routine"), (11, "routine"), (13, "urgent"), (14, "routine"), (30, "routine"),
        ):  # fmt: skip
            if hour == when:
                issued[issue(here, police.id, ward.code, now, urgency)] = (now, urgency)
        # Nobody works from nine to eleven in the evening: what is left over must not wake anybody.
        clock.tick(now, working=hour not in (9, 10))
    _judge(here, clock, people, issued)


def _judge(
    here: World, clock: Clock, people: dict[str, Preferences], issued: dict[UUID, tuple[datetime, str]]
) -> None:
    with here.looking() as session:
        references = {
            row[1]: row[0]
            for row in session.execute(
                sa.text("SELECT d.id, a.reference FROM dispatches d JOIN alerts a ON a.id = d.alert_id")
            )
        }
        digests_sent = dict(
            session.execute(
                sa.select(DispatchContent.dispatch_id, DispatchContent.text)
                .join(Dispatch)
                .where(Dispatch.alert_id.is_(None))
            ).all()
        )
    assert digests_sent
    for address, wants in people.items():
        messages: Counter[UUID] = Counter()
        bulk = []
        for moment, ref in clock.got[address]:
            if ref.dispatch in issued:
                messages[ref.dispatch] += 1
                when, urgency = issued[ref.dispatch]
                if urgency == "urgent":
                    assert moment == when, (address, "an urgent one waited")
                    continue
            else:
                messages.update(references[name] for name in REFERENCE.findall(digests_sent[ref.dispatch]))
            bulk.append(moment)
            wall = moment.astimezone(LONDON)
            if wants.quiet_from is not None:
                assert (wall.hour - wants.quiet_from) % 24 >= wants.quiet_hours, (address, wants, wall)
            if wants.digest != "none":
                assert wall.hour == wants.digest_hour, (address, wants, wall)
        assert set(messages.values()) == {1}, (address, wants, messages)
        assert wants.weekly_cap is None or len(bulk) <= wants.weekly_cap, (address, wants, bulk)
        urgent = {one for one, (_, urgency) in issued.items() if urgency == "urgent"}
        assert urgent <= set(messages), (address, wants)
        if wants.weekly_cap is None and wants.digest != "weekly":
            assert set(messages) == set(issued), (address, wants)
    for sent in issued:
        here.balance(sent)
    for digest in digests_sent:
        assert {line.waiting for line in here.balance(digest)} == {0}


# -- the real clock
def test_a_batch_whose_peoples_quiet_hours_have_begun_is_not_claimed_and_urgent_ones_are(here: World) -> None:
    with here.making() as makes:
        police, ward = town(makes)
        one = makes.resident(police, ward)
        hour = utc_now().astimezone(LONDON).hour
        # Quiet from three hours ago for ten hours: the freeze is told that it was earlier, before they began.
        preferences.choose(
            makes.session,
            one,
            Preferences(quiet_from=(hour - 3) % 24, quiet_until=(hour + 7) % 24),
            actor=ACTOR,
        )
        earlier = utc_now() - 5 * HOUR
        bulk = here.send(makes, makes.alert(police, [ward]), now=earlier)
        urgent = here.send(makes, makes.alert(police, [ward], urgency="urgent"), now=earlier)
    assert here.drain() == 1
    assert (here.statuses(bulk), here.statuses(urgent)) == ({}, {one.id: DeliveryStatus.ACCEPTED})
    with here.worker.sessions.begin() as session:
        assert deferral.put_off(session, now=utc_now()) == 1
    assert here.batch(bulk).not_before > utc_now() + 5 * HOUR
    here.run("UPDATE batches SET not_before = now(), not_after = NULL WHERE state = 'waiting'")
    here.drain()
    assert here.statuses(bulk) == {one.id: DeliveryStatus.ACCEPTED}


def test_quiet_hours_that_begin_while_a_batch_is_in_hand_hold_its_attempt_back(here: World) -> None:
    with here.making() as makes:
        police, ward = town(makes)
        one = makes.resident(police, ward, channel=Channel.SMS)
        preferences.choose(makes.session, one, Preferences(quiet_from=22, quiet_until=7), actor=ACTOR)
        sent = here.send(makes, makes.alert(police, [ward], channels=["sms"]), not_before=_midday())
    here.run("UPDATE batches SET not_before = now(), not_after = now() + interval '1 hour'")
    engine = here.engine()
    job = engine.begin([1])
    assert job is not None and job.left
    here.run("UPDATE batches SET not_after = now() - interval '1 second'")
    with here.worker.sessions.begin() as session:
        opened = attempts.open_attempt(session, job.held, provider="test", first=1, last=1, lease_seconds=60)
    assert opened is None
    assert here.statuses(sent) == {}


def _midday() -> datetime:
    return (utc_now().astimezone(LONDON) + timedelta(days=1)).replace(hour=12, minute=0)


def test_who_stops_between_the_freeze_and_the_morning_gets_nothing(here: World) -> None:
    with here.making() as makes:
        police, ward = town(makes)
        one, other = (makes.resident(police, ward) for _ in range(2))
        for contact in (one, other):
            preferences.choose(makes.session, contact, Preferences(quiet_from=22, quiet_until=7), actor=ACTOR)
        night = (utc_now().astimezone(LONDON) + timedelta(days=1)).replace(hour=23, minute=0)
        sent = here.send(makes, makes.alert(police, [ward]), now=night)
    with here.making() as makes:
        consent.leave(makes.session, one.id, police.id, how="test", actor=ACTOR)
    assert here.drain() == 0
    here.come_back(sent)
    here.drain()
    assert here.statuses(sent) == {one.id: DeliveryStatus.STOPPED, other.id: DeliveryStatus.ACCEPTED}


# -- at once
def test_of_two_sends_at_once_only_one_takes_the_last_place_of_a_week(here: World) -> None:
    with here.making() as makes:
        police, ward = town(makes)
        people = [
            makes.resident(police, ward, channel=channel)
            for channel in (Channel.SMS, Channel.EMAIL)
            for _ in range(20)
        ]
        for one in people:
            preferences.choose(makes.session, one, Preferences(weekly_cap=1), actor=ACTOR)
        first, second = (makes.alert(police, [ward], channels=["email", "sms"]).id for _ in range(2))
    now = utc_now()
    failed: list[BaseException] = []

    def send_second() -> None:
        try:
            with here.app.sessions.begin() as session:
                dispatch.send(session, second, token="token-second", actor=ACTOR, public_url=URL, now=now)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=send_second)
    with here.app.sessions.begin() as session:
        dispatch.send(session, first, token="token-first", actor=ACTOR, public_url=URL, now=now)
        thread.start()
        _until_somebody_waits(here)
    thread.join(30)
    assert not failed
    with here.looking() as session:
        at_once = Counter(
            session.scalars(sa.select(ContactSend.contact_id).where(ContactSend.at <= now)).all()
        )
        assert at_once == Counter(one.id for one in people)
        later = session.scalar(sa.select(sa.func.count()).select_from(DigestItem))
    assert later == 20


def _until_somebody_waits(here: World) -> None:
    deadline = utc_now() + timedelta(seconds=20)
    with here.app.engine.connect() as connection:
        while utc_now() < deadline:
            waiting = connection.execute(
                sa.text(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
                )
            ).scalar_one()
            connection.rollback()
            if waiting:
                return
    raise AssertionError("nobody waits")


def test_two_schedulers_make_every_digest_once(here: World) -> None:
    with here.making() as makes:
        police, ward = town(makes)
        people: list[ContactPoint] = []
        for _ in range(5):
            people.append(makes.resident(police, ward))
            preferences.choose(
                makes.session, people[-1], Preferences(digest="daily", digest_hour=8), actor=ACTOR
            )
        sent = here.send(makes, makes.alert(police, [ward]))
    due = utc_now() + timedelta(days=2)
    with here.worker.sessions.begin() as one:
        assert digests.send_due(one, public_url=URL, now=due).recipients == 5
        with here.worker.sessions.begin() as other:
            assert digests.send_due(other, public_url=URL, now=due).recipients == 0
    with here.worker.sessions.begin() as other:
        assert digests.send_due(other, public_url=URL, now=due).recipients == 0
    here.run("UPDATE batches SET not_before = now()")
    here.drain()
    with here.looking() as session:
        [digest] = session.scalars(sa.select(DigestItem.digest_id).distinct()).all()
    assert digest is not None
    assert here.reached(digest) == Counter(one.id for one in people)
    [line] = here.balance(sent)
    assert (line.recipients, line.digested) == (5, 5)
