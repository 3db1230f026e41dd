"""What Twilio's list and messages tell of texts in doubt, of silent ones and of those that nobody heard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs
from uuid import UUID

import pytest
import sqlalchemy as sa
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest

from app.db import utc_now
from app.models.consent import Suppression
from app.models.ledger import Delivery
from app.models.receipts import RawEvent
from app.services import inbound, receipts
from messaging.providers.twilio_reader import ReaderError, TwilioReader
from messaging.types import Channel, DeliveryStatus
from tests.conftest import Database
from tests.messaging.providers.conftest import SID, Server
from tests.sending import World, world
from workers.receipts import merge_some
from workers.reconcile import Reconciled, run

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SPECS = Path(__file__).parents[1] / "specs"
ACCOUNT = "AC" + "0123456789abcdef" * 2


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path) as opened:
        yield opened


def freeze(here: World, count: int = 3, *, times: int = 1, salutation: str | None = None) -> list[UUID]:
    """``times`` dispatches of the same words to the same people."""
    with here.making() as makes:
        police = makes.organisation()
        makes.sender(police, Channel.SMS)
        _, ward, _ = makes.borough()
        for _ in range(count):
            makes.resident(police, ward, channel=Channel.SMS, salutation=salutation)
        return [here.send(makes, makes.alert(police, [ward], channels=[Channel.SMS])) for _ in range(times)]


def send(here: World, **faults: object) -> None:
    here.faults(sms=faults)
    here.drain()
    here.faults(sms={})


def reconcile(here: World, *, after: timedelta = 4 * MINUTE) -> Reconciled:
    return asyncio.run(run(here.worker, now=utc_now() + after))


def statuses(here: World, sent: UUID) -> set[DeliveryStatus]:
    here.balance(sent)
    return set(here.statuses(sent).values())


def sids(here: World, sent: UUID) -> set[str | None]:
    with here.looking() as session:
        return set(session.scalars(sa.select(Delivery.provider_ref).where(Delivery.dispatch_id == sent)))


ACCEPTED, DOUBT, WAITING = DeliveryStatus.ACCEPTED, DeliveryStatus.IN_DOUBT, DeliveryStatus.WAITING
AFTER, BEFORE = {"drop": {"when": "after"}}, {"drop": {"when": "before"}}


# -- in doubt
def test_a_text_that_stands_in_the_list_was_taken(here: World) -> None:
    (sent,) = freeze(here)
    send(here, **AFTER)
    assert statuses(here, sent) == {DOUBT}
    assert reconcile(here).proved == 3
    assert statuses(here, sent) == {ACCEPTED}
    assert len(sids(here, sent)) == 3 and all(sids(here, sent))
    assert {a.outcome for a in here.attempts(sent)} == {"taken"}
    assert all(times == 1 for times in here.reached(sent).values())


def test_what_no_list_shows_stays_in_doubt_until_twilio_could_send_it_no_more(here: World) -> None:
    (sent,) = freeze(here)
    send(here, **BEFORE)
    here.run("UPDATE batches SET expires_at = now() + interval '20 hours'")
    for after in (4 * MINUTE, 20 * MINUTE, 5 * HOUR):
        assert reconcile(here, after=after).total == 0
        assert statuses(here, sent) == {DOUBT}
    assert reconcile(here, after=10 * HOUR + 12 * MINUTE).given_back == 3
    assert statuses(here, sent) == {WAITING}
    here.come_back(sent)
    send(here)
    assert statuses(here, sent) == {ACCEPTED}
    assert sorted(here.reached(sent).values()) == [1, 1, 1]


def test_without_time_left_they_are_expired(here: World) -> None:
    (sent,) = freeze(here)
    send(here, **BEFORE)
    here.run("UPDATE batches SET expires_at = now() + interval '1 hour'")
    assert reconcile(here, after=80 * MINUTE).expired == 3
    assert statuses(here, sent) == {DeliveryStatus.EXPIRED}


def test_some_taken_and_some_not_are_told_apart(here: World) -> None:
    (sent,) = freeze(here, 8)
    send(here, drop={"when": "after", "share": 0.5}, hang=None)
    here.run("UPDATE batches SET expires_at = now() + interval '1 hour'")
    reached = set(here.reached(sent))
    reconcile(here)
    reconcile(here, after=80 * MINUTE)
    assert {c for c, s in here.statuses(sent).items() if s >= ACCEPTED} == reached
    here.balance(sent)


def one_taken_and_one_in_doubt(here: World) -> list[UUID]:
    """The same words to one number twice: the first was answered, the second never came there."""
    both = freeze(here, 1, times=2)
    here.faults(sms={"drop": {"when": "before", "start": 1}})
    here.drain()
    here.run("UPDATE batches SET not_before = now()")
    here.drain()
    here.faults(sms={})
    return both


def test_one_message_settles_one_of_two_doubts(here: World) -> None:
    first, second = one_taken_and_one_in_doubt(here)
    here.run("UPDATE deliveries SET status = 10, provider_ref = NULL, reason = NULL WHERE status = 30")
    here.run("UPDATE attempts SET outcome = 'in_doubt'")
    here.run(
        "UPDATE batches SET in_doubt = in_doubt + accepted, accepted = 0, expires_at = now() + interval '1 hour'"
    )
    assert len(here.reached(first)) + len(here.reached(second)) == 1
    assert reconcile(here).proved == 1
    assert sorted([*statuses(here, first), *statuses(here, second)]) == [DOUBT, ACCEPTED]
    assert reconcile(here, after=80 * MINUTE).expired == 1


def test_a_message_that_is_somebodys_is_nobody_elses(here: World) -> None:
    first, second = one_taken_and_one_in_doubt(here)
    both = [*statuses(here, first), *statuses(here, second)]
    assert sorted(both) == [DOUBT, ACCEPTED]
    assert reconcile(here).proved == 0
    assert sorted([*statuses(here, first), *statuses(here, second)]) == sorted(both)


def test_other_words_of_that_time_leave_the_doubt_as_it_is(here: World) -> None:
    (sent,) = freeze(here, 1)
    send(here, **AFTER)
    here.run("UPDATE batches SET expires_at = now() + interval '1 hour'")
    for message in here.sandbox.twilio.messages.newest_first():
        message.body = "Redacted."
    for after in (4 * MINUTE, 80 * MINUTE):
        assert reconcile(here, after=after).total == 0
        assert statuses(here, sent) == {DOUBT}


def test_a_provider_that_does_not_answer_settles_nothing(here: World) -> None:
    (sent,) = freeze(here)
    send(here, **BEFORE)
    here.run("UPDATE batches SET expires_at = now() + interval '1 hour'")
    here.sandbox.twilio._authorization = "Basic other"
    assert reconcile(here, after=80 * MINUTE).total == 0
    assert statuses(here, sent) == {DOUBT}


def test_whoever_was_erased_meanwhile_is_left_alone(here: World) -> None:
    (sent,) = freeze(here, 2)
    send(here, **BEFORE)
    contact = here.batch(sent).contact_ids[0]
    with here.making() as makes:
        from app.services import people
        from tests.factories import ACTOR

        people.erase(makes.session, contact, actor=ACTOR)
    here.run("UPDATE batches SET expires_at = now() + interval '1 hour'")
    assert reconcile(here, after=80 * MINUTE).expired == 1
    assert here.statuses(sent)[contact] is DOUBT


def test_a_window_is_asked_about_again_later_and_later(here: World) -> None:
    (sent,) = freeze(here, 1)
    send(here, **BEFORE)
    here.run("UPDATE batches SET expires_at = now() + interval '20 hours'")
    asked = []
    for after in (4 * MINUTE, 20 * MINUTE, 3 * HOUR):
        reconcile(here, after=after)
        (attempt,) = here.attempts(sent)
        asked.append((attempt.ask_at - utc_now() - after) / MINUTE)
    assert asked == pytest.approx([5, 30, 120], abs=1)
    before = here.attempts(sent)[0].ask_at
    reconcile(here, after=3 * HOUR + MINUTE)
    assert here.attempts(sent)[0].ask_at == before, "not asked before its time"


# -- taken, and silent since
def test_a_text_whose_callbacks_stayed_away_is_read_by_its_sid(here: World) -> None:
    (sent,) = freeze(here, 4)
    with here.looking() as session:
        number = here_number(here, sent, 0)
    here.faults(sms={"recipients": {"unknown": [number]}})
    here.drain()
    wait_for_delivery(here)
    assert reconcile(here, after=timedelta(0)).reported == 0, "not before 15 minutes"
    done = reconcile(here, after=16 * MINUTE)
    assert done.reported == 4
    found = here.statuses(sent)
    assert sorted(found.values()) == [40, 40, 40, 50]
    here.balance(sent)
    with here.looking() as session:
        assert session.scalars(sa.select(Suppression.reason)).all() == ["bounce"]
        assert session.execute(sa.text("SELECT count(*) FROM silent_batches")).scalar_one() == 0


def test_what_has_no_end_is_asked_about_less_and_less(here: World) -> None:
    (sent,) = freeze(here, 2)
    here.drain()
    wait_for_delivery(here)
    for message in here.sandbox.twilio.messages.newest_first():
        message.moved("sent")
    reconcile(here, after=timedelta(0))
    waits = []
    for after in (16 * MINUTE, 2 * HOUR, 9 * HOUR, 40 * HOUR):
        reconcile(here, after=after)
        with here.looking() as session:
            waits.append(session.execute(sa.text(
                "SELECT CASE WHEN next_at = 'infinity' THEN NULL ELSE next_at END FROM silent_batches"
            )).scalar_one())  # fmt: skip
    hours = [None if w is None else round((w - utc_now() - a) / HOUR) for w, a in
             zip(waits, (16 * MINUTE, 2 * HOUR, 9 * HOUR, 40 * HOUR), strict=True)]  # fmt: skip
    assert hours == [1, 6, 24, None]
    assert statuses(here, sent) == {DeliveryStatus.DEFERRED}


def here_number(here: World, sent: UUID, nth: int) -> str:
    from app.models.people import ContactPoint

    with here.looking() as session:
        return str(session.get_one(ContactPoint, here.batch(sent).contact_ids[nth]).address)


def wait_for_delivery(here: World) -> None:
    from app.cli.stack import wait_until

    wait_until(lambda: all(m.status != "queued" and m.status != "sent" for m in
                           here.sandbox.twilio.messages.newest_first()), what="deliveries")  # fmt: skip


# -- from people
def texted(here: World, body: str, *, theirs: str = "+447700900321") -> str:
    with here.looking() as session:
        ours = session.scalars(sa.text("SELECT address FROM senders WHERE provider = 'twilio'")).first()
    return here.sandbox.twilio.inbound(theirs, str(ours), body).sid


def merge(here: World) -> None:
    with here.worker.sessions.begin() as session:
        while merge_some(session).events:
            continue


def stops(here: World) -> list[str]:
    with here.looking() as session:
        return list(session.scalars(sa.select(Suppression.reason).where(Suppression.lifted_at.is_(None))))


def test_a_stop_that_no_webhook_brought_counts_and_counts_once(here: World) -> None:
    freeze(here, 1)
    texted(here, "STOP")
    assert reconcile(here, after=timedelta(seconds=1)).received == 1
    merge(here)
    assert stops(here) == ["stop"]
    assert reconcile(here, after=5 * MINUTE).received == 0
    with here.looking() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(RawEvent)) == 1


def test_what_a_webhook_brought_is_not_kept_twice(here: World) -> None:
    freeze(here, 1)
    sid = texted(here, "Saw him at the bus stop.")
    with here.looking() as session:
        ours = session.scalars(sa.text("SELECT address FROM senders WHERE channel = 'sms'")).one()
    with here.app.sessions.begin() as session:
        form = f"MessageSid={sid}&From=%2B447700900321&To=%2B{ours[1:]}&Body=Saw+him+at+the+bus+stop."
        receipts.store(session, "twilio-inbound", form)
    merge(here)
    assert reconcile(here, after=timedelta(seconds=1)).received == 0


def test_a_start_that_comes_late_lifts_no_newer_stop(here: World) -> None:
    freeze(here, 1)
    texted(here, "START")
    with here.worker.sessions.begin() as session:
        from app import crypto

        sender = session.scalars(sa.text("SELECT id FROM senders WHERE channel = 'sms'")).one()
        inbound.stop(session, sender, crypto.keyring().digest("phone", "+447700900321"))
    assert reconcile(here, after=timedelta(seconds=1)).received == 1
    merge(here)
    assert stops(here) == ["stop"]


def test_a_number_is_read_every_two_minutes_and_from_where_it_was_left(here: World) -> None:
    freeze(here, 1)
    reconcile(here, after=timedelta(0))
    texted(here, "Hello")
    assert reconcile(here, after=MINUTE).received == 0
    assert reconcile(here, after=3 * MINUTE).received == 1


# -- the requests
def test_every_question_is_what_twilios_specification_says() -> None:
    listed = {"messages": [], "next_page_uri": None, "page": 0, "page_size": 200}
    message = {
        "sid": SID, "status": "delivered", "to": "+447700900123", "from": "+447700900001", "body": "x",
        "direction": "outbound-api", "date_created": "Wed, 25 Nov 2026 03:00:00 +0000", "date_sent": None,
        "error_code": None, "account_sid": ACCOUNT,
    }  # fmt: skip
    then = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json?PageSize=200&Page=1&PageToken=PA{SID}"
    more = {"messages": [message], "page_size": 200, "next_page_uri": then}

    async def go() -> list:
        actions = [Server.answer(200, body) for body in (message, more, listed, listed)]
        async with Server(*actions) as server:
            reader = TwilioReader(ACCOUNT, "token", base_url=server.url)
            since = datetime.fromisoformat("2026-11-24T00:00:00+00:00")
            known = await reader.fetch(SID)
            assert known is not None and known.form() == {
                "MessageSid": SID, "MessageStatus": "delivered", "ErrorCode": "",
            }  # fmt: skip
            assert [m.sid for m in await reader.sent_to("+447700900123", since=since)] == [SID]
            assert await reader.received("+447700900001", since=since) == []
            await reader.aclose()
            return server.requests

    requests = asyncio.run(asyncio.wait_for(go(), 30))
    document = json.loads((SPECS / "twilio_read_messages.json").read_text())
    api = OpenAPI.from_dict(document)
    (listing,) = (p["get"] for path, p in document["paths"].items() if path.endswith("/Messages.json"))
    known = {parameter["name"] for parameter in listing["parameters"]}
    for request in requests:
        path, _, query = request.target.partition("?")
        asked = {name: values[0] for name, values in parse_qs(query, strict_parsing=bool(query)).items()}
        api.validate_request(
            MockRequest(
                "https://api.twilio.com", "get", path, args=asked, data=b"",
                headers={"Authorization": request.headers["authorization"]},
            )
        )  # fmt: skip
        assert request.method == "GET" and set(asked) <= known
    assert len(requests) == 4


@pytest.mark.parametrize(("status", "reason"), [(500, "500"), (429, "429"), (401, "401")])
def test_a_refused_question_says_why(status: int, reason: str) -> None:
    async def go() -> None:
        async with Server(Server.answer(status, {"code": 1, "message": "x"}, Retry_After="7")) as server:
            reader = TwilioReader(ACCOUNT, "token", base_url=server.url)
            with pytest.raises(ReaderError) as caught:
                await reader.fetch(SID)
            assert (caught.value.reason, caught.value.retry_after) == (reason, 7)
            await reader.aclose()

    asyncio.run(asyncio.wait_for(go(), 30))


def test_a_text_that_twilio_does_not_know_is_no_error() -> None:
    async def go() -> None:
        async with Server(Server.answer(404, {"code": 20404, "message": "x"})) as server:
            reader = TwilioReader(ACCOUNT, "token", base_url=server.url)
            assert await reader.fetch(SID) is None
            await reader.aclose()

    asyncio.run(asyncio.wait_for(go(), 30))


def test_an_account_that_does_not_answer_holds_up_no_text_to_another(
    committed: Database, tmp_path: Path
) -> None:
    with world(committed, tmp_path, second=True, TWILIO_2_AUTH_TOKEN="revoked") as here:
        freeze(here, 1)
        with here.making() as makes:
            # Its number comes first: nobody has read either, and they are read by their addresses.
            other = makes.sender(makes.organisation("Other Police"), "sms").id
        here.run(
            "UPDATE senders SET provider = 'twilio-2', address = '+447700900000' WHERE id = :id", id=other
        )
        texted(here, "STOP")
        assert reconcile(here, after=timedelta(seconds=1)).received == 1
        merge(here)
        assert stops(here) == ["stop"]
