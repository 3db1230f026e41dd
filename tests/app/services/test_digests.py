"""Digests: everybody's messages in one e-mail, each of them once; and what became of those that are in none."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.models.deferral import ContactSend, DigestItem
from app.models.ledger import Batch, Dispatch, DispatchContent
from app.services import consent, deferral, digests, dispatch, people, preferences, retention
from app.services.ledger import check, claims, recovery
from app.services.preferences import Preferences
from messaging.types import Channel
from tests import ledger
from tests.app.services.test_freeze import NIGHT, NOON, Town, at, due, items, new_town
from tests.conftest import Database
from tests.factories import ACTOR, TOPIC, Makes

URL = "http://127.0.0.1:8000"
DAILY = Preferences(digest="daily", digest_hour=18)
EVENING = at(3, 18)


@pytest.fixture
def session(database: Database, registry: object) -> Iterator[Session]:
    """What the app does and what the scheduler does, in one transaction."""
    with ledger.by_anybody(database) as both:
        yield both


@pytest.fixture
def town(session: Session) -> Town:
    return new_town(Makes(session))


def make(session: Session, now: object = EVENING, **more: int) -> digests.Made:
    return digests.send_due(session, public_url=URL, now=now, **more)  # type: ignore[arg-type]


def sent_digests(session: Session) -> dict[UUID, frozenset[int]]:
    """Digest → whom it goes to."""
    rows = session.execute(
        sa.select(Dispatch.id, Batch.contact_ids).join(Batch).where(Dispatch.alert_id.is_(None))
    )
    found: dict[UUID, frozenset[int]] = {}
    for digest, contacts in rows:
        assert not found.get(digest, frozenset()) & set(contacts)
        found[digest] = found.get(digest, frozenset()) | frozenset(contacts)
    return found


def states(session: Session, sent: UUID) -> dict[int, str]:
    rows = session.execute(
        sa.select(DigestItem.contact_id, DigestItem.state).where(DigestItem.dispatch_id == sent)
    )
    return {row.contact_id: row.state for row in rows}


def content(session: Session, digest: UUID) -> DispatchContent:
    return session.scalars(sa.select(DispatchContent).where(DispatchContent.dispatch_id == digest)).one()


def test_people_with_the_same_messages_share_a_digest_and_each_message_is_in_it_once(
    session: Session, town: Town
) -> None:
    both = [town.resident(DAILY) for _ in range(2)]
    first = town.send(NOON, headline="One bicycle")
    late = town.resident(DAILY)
    second = town.send(NOON + timedelta(hours=1), headline="Two *bicycles* & <b>a pram</b>")
    assert make(session, EVENING - timedelta(minutes=1)) == digests.Made(0, 0)
    assert make(session) == digests.Made(2, 3)
    assert set(sent_digests(session).values()) == {
        frozenset(c.id for c in both),
        frozenset([late.id]),
    }
    assert make(session) == digests.Made(0, 0), "once"
    assert set(states(session, first).values()) == set(states(session, second).values()) == {"sent"}
    [of_two] = [d for d, who in sent_digests(session).items() if both[0].id in who]
    mail = content(session, of_two)
    assert mail.subject == "Your digest: 2 messages from Test Police"
    for part in ("One bicycle", "Two *bicycles* & <b>a pram</b>"):
        assert mail.text.count(part) == 1, mail.text
    assert mail.html.count("Two *bicycles* &amp; &lt;b&gt;a pram&lt;/b&gt;") == 1, mail.html
    assert mail.text.count(f"{URL}/alert/WL-") == 2
    assert f"[[stop:{mail.nonce}]]" in mail.text
    assert all(line.balances for one in (first, second, of_two) for line in check.balance(session, one))


def test_restricted_alerts_and_exercises_are_told_in_full_for_they_have_no_page(
    session: Session, town: Town
) -> None:
    town.resident(DAILY)
    body = "Word. " * 100 + "The end of it."
    town.send(NOON, body=body, restricted=True)
    town.send(NOON, body=body, exercise=True)
    town.send(NOON, body=body)
    make(session)
    [digest] = sent_digests(session)
    mail = content(session, digest)
    assert mail.text.count("The end of it.") == 2
    assert mail.text.count("EXERCISE: ") == 1
    assert not mail.subject.startswith("EXERCISE")
    assert mail.text.count("/alert/") == 1


def test_who_stopped_was_erased_or_need_no_longer_know_gets_nothing_and_is_accounted_for(
    session: Session, town: Town
) -> None:
    stays, left, gone, no_topic = (town.resident(DAILY) for _ in range(4))
    stopped = town.send(NOON)
    over = town.send(NOON, expires_at=EVENING)
    sent = town.send(NOON)
    dispatch.stop(session, stopped, actor=ACTOR, why="wrong ward")
    consent.leave(session, left.id, town.police.id, how="test", actor=ACTOR)
    consent.suppress(
        session, channel="email", digest=no_topic.digest, digest_key=1, controller=town.police.id,
        reason="left", topic="incidents and appeals",
    )  # fmt: skip
    people.erase(session, gone.id, actor=ACTOR)
    make(session)
    assert states(session, sent) == {
        stays.id: "sent",
        left.id: "stopped",
        gone.id: "erased",
        no_topic.id: "stopped",
    }
    assert set(states(session, stopped).values()) == {"stopped"}
    assert states(session, over)[stays.id] == "expired"
    assert list(sent_digests(session).values()) == [frozenset([stays.id])]
    assert all(line.balances for one in (sent, stopped, over) for line in check.balance(session, one))


def test_a_digest_waits_for_quiet_hours_chosen_since_and_for_a_dispatch_that_is_paused(
    session: Session, town: Town
) -> None:
    changed, paused = town.resident(DAILY), town.resident(DAILY)
    first = town.send(NOON)
    preferences.choose(session, changed, Preferences(quiet_from=17, quiet_until=9), actor=ACTOR)
    session.execute(sa.text("UPDATE dispatches SET state = 'paused' WHERE id = :d"), {"d": first})
    assert make(session) == digests.Made(0, 0)
    assert items(session, first) == {changed.id: at(4, 9), paused.id: EVENING + digests.TRY_AGAIN}
    session.execute(sa.text("UPDATE dispatches SET state = 'running' WHERE id = :d"), {"d": first})
    assert make(session, EVENING + timedelta(hours=1)).recipients == 1
    assert make(session, at(4, 9)).recipients == 1


def test_without_a_sender_or_over_a_limit_digests_are_tried_again_and_nobody_is_lost(
    session: Session, town: Town
) -> None:
    one = town.resident(DAILY)
    sent = town.send(NOON)
    session.execute(sa.text("UPDATE senders SET active = false"))
    session.expire_all()
    assert make(session) == digests.Made(0, 0)
    assert items(session, sent) == {one.id: EVENING + digests.TRY_AGAIN}
    session.execute(sa.text("UPDATE senders SET active = true"))
    session.expire_all()
    assert make(session, EVENING + timedelta(minutes=31)) == digests.Made(1, 1)


def test_much_work_is_done_in_parts_and_everybody_has_one_digest(session: Session, town: Town) -> None:
    everybody = [town.resident(DAILY) for _ in range(9)]
    sent = [town.send(NOON) for _ in range(3)]
    made = 0
    while (now := make(session, items=4, sets=1)).digests:
        made += now.recipients
    assert made == len(everybody)
    went = [contact for who in sent_digests(session).values() for contact in who]
    assert sorted(went) == sorted(c.id for c in everybody)
    assert all(set(states(session, one).values()) == {"sent"} for one in sent)


def test_what_comes_late_counts_when_it_comes(session: Session, town: Town) -> None:
    capped = town.resident(Preferences(weekly_cap=1, digest="daily", digest_hour=18))
    texter = town.resident(Preferences(weekly_cap=1, quiet_from=22, quiet_until=7), Channel.SMS)
    sent = town.send(NOON)
    deferral.put_off(session, now=at(3, 22, 5))
    assert make(session, at(3, 22, 5)).recipients == 1
    counted = dict(session.execute(sa.select(ContactSend.contact_id, ContactSend.at)).all())
    assert counted == {capped.id: at(3, 22, 5), texter.id: at(4, 7)}
    assert due(session, sent) == {texter.id: at(4, 7)}


def test_batches_that_did_not_leave_in_time_wait_through_the_quiet_hours(
    session: Session, town: Town
) -> None:
    town.resident(NIGHT)
    sent = town.send(at(3, 21))
    assert deferral.put_off(session, now=at(3, 21, 59)) == 0
    assert deferral.put_off(session, now=at(3, 22)) == 1
    assert deferral.put_off(session, now=at(3, 22, 1)) == 0
    [batch] = session.scalars(
        sa.select(Batch).where(Batch.dispatch_id == sent).execution_options(populate_existing=True)
    )
    assert (batch.not_before, batch.not_after) == (at(4, 7), at(4, 22))
    # The second evening it is over: the sender finds it expired.
    session.execute(sa.text("UPDATE batches SET expires_at = :e"), {"e": at(5, 6)})
    assert deferral.put_off(session, now=at(4, 22)) == 1
    session.refresh(batch)
    assert (batch.not_before, batch.not_after) == (at(5, 6), None)


def test_stopping_takes_the_message_out_of_digests_even_when_all_else_has_left(
    session: Session, town: Town
) -> None:
    town.resident(DAILY)
    sent = town.send(NOON)
    assert recovery.finish(session) == [sent]
    session.expire_all()
    dispatch.stop(session, sent, actor=ACTOR, why="wrong ward")
    assert list(states(session, sent).values()) == ["stopped"]
    with pytest.raises(dispatch.Conflict):
        dispatch.stop(session, sent, actor=ACTOR, why="wrong ward")
    assert make(session) == digests.Made(0, 0)


def test_who_stops_one_of_its_topics_before_it_leaves_is_not_sent_a_digest_of_several(
    session: Session, town: Town
) -> None:
    topics = (TOPIC, "events")
    stays, stops = (town.makes.resident(town.police, town.ward, topics=topics) for _ in range(2))
    for one in (stays, stops):
        preferences.choose(session, one, DAILY, actor=ACTOR)
    town.send(NOON)
    town.send(NOON, topic="events")
    assert make(session) == digests.Made(1, 2)
    [digest] = sent_digests(session)
    assert session.get_one(Dispatch, digest).topic == "events, incidents and appeals"
    consent.suppress(
        session, channel="email", digest=stops.digest, digest_key=1, controller=town.police.id,
        reason="left", topic="events",
    )  # fmt: skip
    session.execute(sa.update(Batch).values(not_before=sa.func.now(), not_after=None))
    held = ledger.claimed(session)
    checked = claims.check(session, held)
    assert held.dispatch == digest
    assert [p.contact_id for p in checked.left] == [stays.id]
    assert [contact for _, contact in checked.stopped] == [stops.id]


def test_a_message_without_an_end_that_no_digest_can_carry_is_over_after_two_weeks(
    session: Session, town: Town
) -> None:
    who = town.resident(DAILY)
    sent = town.send(NOON, expires_at=None)
    session.execute(sa.text("UPDATE senders SET active = false"))
    assert make(session) == digests.Made(0, 0)
    assert states(session, sent) == {who.id: "waiting"}
    assert make(session, EVENING + timedelta(days=10)) == digests.Made(0, 0)
    assert states(session, sent) == {who.id: "waiting"}
    make(session, EVENING + timedelta(days=17))
    assert states(session, sent) == {who.id: "expired"}
    assert all(line.balances for line in check.balance(session, sent))


def test_places_in_digests_go_with_their_month_and_those_that_wait_stay(session: Session, town: Town) -> None:
    early, late = town.resident(DAILY), town.resident(DAILY)
    sent = town.send(NOON)
    make(session)
    session.execute(
        sa.text(
            "UPDATE digest_items SET state = 'waiting', settled_at = NULL, digest_id = NULL WHERE contact_id = :c"
        ),
        {"c": late.id},
    )
    assert retention.purge_digest_items(session, now=NOON) == 0
    session.execute(
        sa.text(
            "INSERT INTO ledger_dropped (low, high, month) VALUES (:d, CAST(:high AS uuid), '2026-01-01')"
        ),
        {"d": sent, "high": "ffffffff-ffff-ffff-ffff-ffffffffffff"},
    )
    assert retention.purge_digest_items(session, now=NOON) == 1
    assert states(session, sent) == {late.id: "waiting"}
    assert early.id not in states(session, sent)
