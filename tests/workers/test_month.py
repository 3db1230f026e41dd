"""A month for 100,000 people who sleep, want little, or want it all at once: judged by what was sent, in plain Python.

The clock is an argument. Freezes, digests and quiet hours are the real ones; the worker is played by SQL that takes
what is ready in the order of the claim, for what a provider does has nothing to do with when.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
import sqlalchemy as sa

from app.db import new_contact_id, new_id
from app.errors import Invalid
from app.models.deferral import DIGESTS
from app.registry import Registry
from app.roles import libpq
from app.services import consent, deferral, digests, dispatch, preferences
from app.services.ledger import check
from app.services.preferences import Preferences
from config.fields import Part
from tests.conftest import Database
from tests.factories import ACTOR, TOPIC, Makes

LONDON = ZoneInfo("Europe/London")
URL = "http://127.0.0.1:8000"
PEOPLE = 100_000
TICK = timedelta(minutes=30)
BEGIN = datetime(2026, 10, 9, 0, 0, tzinfo=LONDON).astimezone(UTC)  # the clocks change on the 25th
DAYS = 31
WARDS = 4
WEEK = timedelta(days=7)


def wall(moment: datetime, known: dict[datetime, datetime] = {}) -> datetime:  # noqa: B006  kept on purpose
    """What the clock on a wall in London shows."""
    if moment not in known:
        known[moment] = moment.astimezone(LONDON).replace(tzinfo=None)
    return known[moment]


def choices(channel: str) -> list[Preferences]:
    """Every mixture of these that the service would take."""
    quiet = [(None, None), (22, 7), (23, 6), (0, 8), (20, 9), (1, 2), (2, 5), (9, 17)]
    when = [
        ("none", None, None),
        ("daily", 8, None),
        ("daily", 18, None),
        ("weekly", 18, 7),
        ("weekly", 7, 1),
    ]
    made = []
    for start, end in quiet:
        for cap in (None, 1, 2, 5):
            for digest, hour, day in when:
                one = Preferences(start, end, cap, digest, hour, day)
                try:
                    preferences.check(one, channel)
                except Invalid:
                    continue
                made.append(one)
    assert {one.digest for one in made} == (set(DIGESTS) if channel == "email" else {"none"})
    return made


@dataclass
class Resident:
    channel: str
    ward: int
    wants: Preferences | None
    left_at: datetime | None = None
    erased_at: datetime | None = None

    @property
    def gone_at(self) -> datetime | None:
        return self.left_at or self.erased_at


@dataclass
class Issued:
    """An alert as it was frozen."""

    at: datetime
    wards: tuple[int, ...]
    urgent: bool
    ends: datetime
    recipients: int


@dataclass
class Month:
    app: Registry
    worker: Registry
    admin: psycopg.Connection
    controller: UUID
    wards: list[str]
    people: dict[int, Resident]
    issued: dict[UUID, Issued] = field(default_factory=dict)

    # -- acting
    def issue(self, now: datetime, wards: Sequence[int], urgency: str, ends: datetime | None = None) -> None:
        with self.app.sessions.begin() as session:
            alert = Makes(session).alert(
                _Ref(self.controller),  # type: ignore[arg-type]
                [],
                urgency=urgency,
                channels=["email", "sms"],
                expires_at=ends,
                audience_expression={"areas": [self.wards[w] for w in wards]},
            )
            sent = dispatch.send(session, alert.id, token=str(new_id()), actor=ACTOR, public_url=URL, now=now)
        life = dispatch.LIFETIME[urgency]
        self.issued[sent.id] = Issued(
            now, tuple(wards), urgency != "routine", min(ends or now + life, now + life), sent.recipients
        )

    def tick(self, now: datetime) -> None:
        """What the scheduler and a worker do at this moment."""
        with self.worker.sessions.begin() as session:
            deferral.put_off(session, now=now)
        while True:
            with self.worker.sessions.begin() as session:
                if not digests.send_due(session, public_url=URL, now=now).digests:
                    break
        with self.worker.sessions.begin() as session:
            session.execute(_WORK, {"now": now})

    def leave(self, now: datetime, contacts: Sequence[int], *, erased: bool) -> None:
        """People leave, or are erased: as the services would, a thousand at once."""
        self.admin.execute("UPDATE consents SET withdrawn_at = %s, withdrawn_how = 'test' WHERE contact_id = ANY(%s)",
                           (now, list(contacts)))  # fmt: skip
        if erased:
            self.admin.execute("UPDATE consents SET contact_id = NULL, pseudonym = '\\x00' WHERE contact_id = ANY(%s)",
                               (list(contacts),))  # fmt: skip
            self.admin.execute("DELETE FROM contact_points WHERE id = ANY(%s)", (list(contacts),))
        else:
            self.admin.execute(
                "INSERT INTO suppressions (channel, digest, digest_key, controller_id, reason) "
                "SELECT channel, digest, digest_key, %s, 'left' FROM contact_points WHERE id = ANY(%s)",
                (self.controller, list(contacts)),
            )
        self.admin.commit()
        for one in contacts:
            if erased:
                self.people[one].erased_at = now
            else:
                self.people[one].left_at = now


@dataclass
class _Ref:
    id: UUID


# What the engine does to a batch, without a provider: everybody in it gets a row of the ledger.
_WORK = sa.text(
    """
    WITH ready AS (
        SELECT b.dispatch_id, b.n, b.contact_ids, b.expires_at, b.controller_id, d.topic, d.state
        FROM batches b JOIN dispatches d ON d.id = b.dispatch_id
        WHERE b.state = 'waiting' AND b.not_before <= :now AND (b.not_after IS NULL OR b.not_after > :now)
    ), fates AS (
        SELECT r.dispatch_id, r.n, u.contact_id, u.ordinal, CASE
            WHEN c.id IS NULL THEN 22
            WHEN r.state = 'stopped' OR EXISTS (
                SELECT 1 FROM suppressions x WHERE x.digest = c.digest AND x.channel = c.channel
                  AND x.lifted_at IS NULL AND (x.controller_id IS NULL OR x.controller_id = r.controller_id)
                  AND (x.topic IS NULL OR x.topic = r.topic)) THEN 21
            WHEN r.expires_at <= :now THEN 20
            ELSE 30 END AS status
        FROM ready r CROSS JOIN LATERAL unnest(r.contact_ids) WITH ORDINALITY AS u(contact_id, ordinal)
        LEFT JOIN contact_points c ON c.id = u.contact_id
    ), rows AS (
        INSERT INTO deliveries (dispatch_id, contact_id, batch_n, ordinal, status, at)
        SELECT dispatch_id, contact_id, n, ordinal, status, :now FROM fates
    ), counts AS (
        SELECT dispatch_id, n, count(*) FILTER (WHERE status = 30) AS accepted,
            count(*) FILTER (WHERE status = 21) AS stopped, count(*) FILTER (WHERE status = 22) AS erased,
            count(*) FILTER (WHERE status = 20) AS expired
        FROM fates GROUP BY 1, 2
    )
    UPDATE batches b SET state = 'done', accepted = c.accepted, stopped = c.stopped, erased = c.erased,
        expired = c.expired
    FROM counts c WHERE b.dispatch_id = c.dispatch_id AND b.n = c.n
    """
)


@pytest.fixture
def month(committed: Database) -> Iterator[Month]:
    app, worker = committed.open(), committed.open(Part.WORKER)
    with app.sessions.begin() as session:
        makes = Makes(session)
        police = makes.organisation()
        makes.sender(police)
        makes.sender(police, "sms")
        _, *wards = makes.borough(WARDS)
        makes.wording()
        wording = consent.current_wording(session).id
        ids = [ward.id for ward in wards]
        codes = [ward.code for ward in wards]
    people = _people()
    with psycopg.connect(libpq(committed.admin)) as admin:
        _load(admin, people, police.id, ids, wording)
        yield Month(app, worker, admin, police.id, codes, people)
    app.engine.dispose()
    worker.engine.dispose()


def _people() -> dict[int, Resident]:
    """Three in ten by text, four in ten with nothing to wish for, the rest spread over all wishes there are."""
    wishes = {channel: choices(channel) for channel in ("email", "sms")}
    made = {}
    for n in range(PEOPLE):
        channel = "sms" if n % 10 < 3 else "email"
        wants = wishes[channel][n // 7 % len(wishes[channel])] if n % 5 < 3 else None
        made[new_contact_id()] = Resident(channel, n // 10 % WARDS, wants)
    return made


def _load(
    admin: psycopg.Connection, people: dict[int, Resident], controller: UUID, wards: list[int], wording: int
) -> None:
    places = {contact: new_id() for contact in people}
    tables: dict[str, Iterator[tuple[object, ...]]] = {
        "contact_points (id, channel, address_enc, digest, digest_key, form_version, confirmed_at, synthetic)": (
            (c, p.channel, b"\0", c.to_bytes(32, "big"), 1, 1, BEGIN, True) for c, p in people.items()
        ),
        "places (id, controller_id, kind)": ((places[c], controller, "ward") for c in people),
        "place_areas (place_id, area_id, release_id, valid_from)": (
            (places[c], wards[p.ward], "test", BEGIN.date()) for c, p in people.items()
        ),
        "subscriptions (id, place_id, contact_id, controller_id, topic)": (
            (new_id(), places[c], c, controller, TOPIC) for c in people
        ),
        "consents (id, contact_id, controller_id, channel, purpose, wording_id, how)": (
            (new_id(), c, controller, p.channel, "alerts", wording, "test") for c, p in people.items()
        ),
        "contact_preferences (contact_id, channel, quiet_from, quiet_until, weekly_cap, digest, digest_hour, "
        "digest_weekday)": (
            (
                c,
                p.channel,
                w.quiet_from,
                w.quiet_until,
                w.weekly_cap,
                w.digest,
                w.digest_hour,
                w.digest_weekday,
            )
            for c, p in people.items()
            if (w := p.wants) is not None and w != preferences.NONE
        ),
    }
    with admin.cursor() as cursor:
        for table, rows in tables.items():
            with cursor.copy(f"COPY {table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
        cursor.execute("ANALYZE")
    admin.commit()


def _moments() -> Iterator[datetime]:
    end = BEGIN + timedelta(days=DAYS)
    moment = BEGIN
    while moment < end:
        yield moment
        moment += TICK


def _of_the_day(number: int, clock: tuple[int, int]) -> Iterator[tuple[tuple[int, ...], str, int | None]]:
    """What is issued on a day at a time of the wall clock: wards, urgency, and the hours after which it is over."""
    if clock == (9, 0):
        yield (number % WARDS, (number + 1) % WARDS), "routine", None
    if clock == (14, 30):
        yield (number % WARDS,), "routine", 6 if number % 3 == 0 else None
    if clock == (23, 30) and number % 2 == 0:
        yield ((number + 2) % WARDS,), "routine", None
    if number % 8 == 0 and clock == (19, 0):
        yield tuple(range(WARDS)), "routine", None
    if (number % 3 == 0 and clock == (3, 30)) or (
        number == 16 and clock == (1, 30)
    ):  # in the night of the change
        yield (number % WARDS,), "urgent", None
    if number == 20 and clock == (2, 0):
        yield (0,), "risk-to-life", None


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1_200)  # it is long, and longer where others work beside it
def test_in_a_month_nobody_gets_more_than_they_want_or_when_they_sleep_or_anything_twice(
    month: Month,
) -> None:
    ids = list(month.people)
    for moment in _moments():
        clock = wall(moment)
        number = (clock.date() - wall(BEGIN).date()).days
        if (number, clock.hour, clock.minute) == (12, 13, 0):
            month.leave(moment, ids[1::501], erased=False)
            month.leave(moment, ids[2::703], erased=True)
        for wards, urgency, hours in _of_the_day(number, (clock.hour, clock.minute)):
            ends = moment + timedelta(hours=hours) if hours else None
            month.issue(moment, wards, urgency, ends)
        month.tick(moment)
        if (clock.hour, clock.minute) == (4, 0):
            month.admin.execute("DELETE FROM contact_sends WHERE at < %s", (moment - timedelta(days=8),))
            month.admin.execute("ANALYZE")
            month.admin.commit()
    # Nothing more is issued, until all that waits has had its turn.
    for n in range(int(timedelta(days=9) / TICK)):
        month.tick(BEGIN + timedelta(days=DAYS) + n * TICK)
    Judge(month).judge()


class Judge:
    """Reads what was sent and asks of each person: too much, too late, at a bad hour, twice, or lost?"""

    def __init__(self, month: Month) -> None:
        self.month = month
        self.direct: dict[int, list[tuple[datetime, UUID]]] = defaultdict(list)
        self.digests: dict[int, list[tuple[datetime, UUID]]] = defaultdict(list)
        self.fates: dict[UUID, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self.carried: dict[int, dict[UUID, list[UUID]]] = defaultdict(lambda: defaultdict(list))

    def judge(self) -> None:
        self._read()
        sent = sum(map(len, self.direct.values())), sum(map(len, self.digests.values()))
        assert sent[0] > 10 * PEOPLE and sent[1] > PEOPLE, sent  # or the month was no test
        for contact, person in self.month.people.items():
            self._person(contact, person)
        self._alerts()

    def _read(self) -> None:
        with self.month.admin.cursor("sent") as cursor:
            cursor.itersize = 50_000
            cursor.execute("SELECT contact_id, at, dispatch_id, status FROM deliveries")
            for contact, at, sent, status in cursor:
                alert = sent in self.month.issued
                if status == 30:
                    (self.direct if alert else self.digests)[contact].append((at, sent))
                if alert:
                    self.fates[sent][{20: "expired", 21: "stopped", 22: "erased", 30: "sent"}[status]] += 1
        with self.month.admin.cursor("items") as cursor:
            cursor.itersize = 50_000
            cursor.execute("SELECT contact_id, dispatch_id, digest_id, state FROM digest_items")
            for contact, sent, digest, state in cursor:
                self.fates[sent]["in a digest" if state == "sent" else f"digest {state}"] += 1
                if digest is not None:
                    self.carried[contact][digest].append(sent)

    def _person(self, contact: int, person: Resident) -> None:
        mine = self.month.issued
        wants = person.wants or preferences.NONE
        bulk = sorted(
            [at for at, sent in self.direct[contact] if not mine[sent].urgent]
            + [at for at, _ in self.digests[contact]]
        )
        # Twice: neither by itself, nor in a digest, nor both.
        got = [sent for _, sent in self.direct[contact]]
        inside = [
            sent for digest in (d for _, d in self.digests[contact]) for sent in self.carried[contact][digest]
        ]
        assert len(set(got + inside)) == len(got) + len(inside), (contact, wants)
        assert all(self.carried[contact][digest] for _, digest in self.digests[contact]), "an empty digest"
        # In quiet hours.
        if wants.quiet_from is not None:
            for at in bulk:
                asleep = (wall(at).hour - wants.quiet_from) % 24 < wants.quiet_hours
                assert not asleep, (contact, wants, at)
        # Over the cap.
        if wants.weekly_cap is not None:
            for earlier, later in zip(bulk, bulk[wants.weekly_cap :], strict=False):
                assert wall(later) - wall(earlier) >= WEEK, (contact, wants, earlier, later)
        # Digests at their hour, and nothing beside them.
        if wants.digest != "none":
            assert not [sent for _, sent in self.direct[contact] if not mine[sent].urgent], (contact, wants)
            for at, _ in self.digests[contact]:
                assert (wall(at).hour, wall(at).minute) == (wants.digest_hour, 0), (contact, wants, at)
                assert wants.digest_weekday in (None, wall(at).isoweekday()), (contact, wants, at)
        elif wants.weekly_cap is None:
            assert not self.digests[contact], (contact, wants)
        # Too late: after an alert is over, or after they left.
        for at, sent in self.direct[contact]:
            assert at < mine[sent].ends, (contact, at)
        for at, _ in [*self.direct[contact], *self.digests[contact]]:
            assert person.gone_at is None or at < person.gone_at, (contact, at)
        self._urgent(contact, person)
        self._plain(contact, person, wants)

    def _urgent(self, contact: int, person: Resident) -> None:
        """Every urgent one at once, whatever they want."""
        got = dict(map(reversed, self.direct[contact]))  # type: ignore[arg-type]
        for sent, alert in self.month.issued.items():
            gone = person.gone_at is not None and person.gone_at <= alert.at
            if alert.urgent and person.ward in alert.wards and not gone:
                assert got.get(sent) == alert.at, (contact, alert)

    def _plain(self, contact: int, person: Resident, wants: Preferences) -> None:
        """Who wants nothing special has everything, at once."""
        if wants == preferences.NONE:
            got = sorted(at for at, _ in self.direct[contact])
            wanted = sorted(
                alert.at
                for alert in self.month.issued.values()
                if person.ward in alert.wards and (person.gone_at is None or alert.at < person.gone_at)
            )
            assert got == wanted, contact

    def _alerts(self) -> None:
        """Nobody lost: whoever lived there and had not left stands in exactly one state of each alert."""
        people = self.month.people.values()
        by_ward = {
            ward: sorted(group, key=lambda p: p.gone_at or datetime.max.replace(tzinfo=UTC))
            for ward, group in (
                (w, list(g)) for w, g in groupby(sorted(people, key=lambda p: p.ward), key=lambda p: p.ward)
            )
        }
        with self.month.app.sessions() as session:
            for sent, alert in self.month.issued.items():
                there = sum(
                    p.gone_at is None or p.gone_at > alert.at for w in alert.wards for p in by_ward[w]
                )
                assert there == alert.recipients == sum(self.fates[sent].values()), (alert, self.fates[sent])
                assert not self.fates[sent]["digest waiting"], (alert, self.fates[sent])
            # The ledger's own book-keeping, for the busiest day.
            first = sorted(self.month.issued, key=lambda d: self.month.issued[d].recipients)[-3:]
            for sent in first:
                lines = check.balance(session, sent)
                assert all(line.balances for line in lines), lines
                assert sum(line.recipients for line in lines) == self.month.issued[sent].recipients
