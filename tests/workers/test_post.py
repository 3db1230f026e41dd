"""Service messages leave once or not at all: real HTTP to the sandbox, judged by its own acceptance log."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import orjson
import pytest
import sqlalchemy as sa

from app import crypto
from app.cli.stack import free_port, wait_until
from app.db import utc_now
from app.models.consent import Suppression
from app.models.service_messages import ServiceMessage
from app.services import inbound, outgoing, post, receipts
from config.fields import Part
from messaging.notices import notice
from messaging.sandbox import judge
from messaging.types import Channel, DeliveryRef, Outcome, SendResult
from tests import ledger
from tests.conftest import Database
from tests.messaging.providers.conftest import SID, Request, Server
from tests.sending import URL, World, world
from tests.workers.test_sending_requests import ACCOUNT, valid
from workers import main, runtime, schedule
from workers.post import _carry, send_due
from workers.receipts import merge_some

FIRST = {Channel.EMAIL: "sendgrid", Channel.SMS: "twilio"}
DOUBT = SendResult(Outcome.IN_DOUBT)
BOTH = pytest.mark.parametrize("channel", list(Channel))
ADDRESS = {Channel.EMAIL: "Ann.Other@people.example", Channel.SMS: "+447700900555"}
CODE = notice("Your code", ["It is 123456."], button=None, controller_name="Police")


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path, PROVIDER_TIMEOUT_SECONDS="2") as made:
        yield made


def queue(
    here: World, channel: Channel, *, seconds: float = 1_800, controller: UUID | None = None, **more
) -> UUID:
    """One code to one address, from a controller with a sender of both kinds."""
    with here.making() as makes:
        if controller is None:
            police = makes.organisation("Police; Camden")
            makes.sender(police, "sms")
            makes.sender(police, "email")
            controller = police.id
        values = {
            "kind": "confirm", "address": ADDRESS[channel], "controller": controller, "synthetic": True,
            "expires_at": utc_now() + timedelta(seconds=seconds), "now": utc_now(),
        } | more  # fmt: skip
        if channel is Channel.EMAIL:
            return post.queue_email(makes.session, content=CODE, **values)  # type: ignore[arg-type]
        made = post.queue_text(makes.session, text="Your code is 123456", **values)  # type: ignore[arg-type]
        assert made is not None
        return made


@contextmanager
def another_worker(here: World, **settings: str) -> Iterator[None]:
    """A worker with other providers in the place of the world's."""
    usual, here.worker = here.worker, here.database.open(Part.WORKER, **settings)
    try:
        yield
    finally:
        here.worker.engine.dispose()
        here.worker = usual


def look(here: World, message: UUID) -> ServiceMessage:
    with here.looking() as session:
        return session.get_one(ServiceMessage, message)


def accepted(here: World, message: UUID) -> int:
    """How often the sandbox took it."""
    refs = Counter(r.split(".")[0] for one in judge.read(here.sandbox.log_path) for r in one.refs)
    return refs[message.hex]


def now_due(here: World, message: UUID) -> None:
    here.run("UPDATE service_messages SET not_before = now() WHERE id = :i", i=message)
    with here.looking() as session:
        here.rest(session)  # what a provider asked for has passed too


# -- what leaves
@BOTH
def test_a_message_arrives_once_and_what_it_said_is_gone(here: World, channel: Channel) -> None:
    message = queue(here, channel)
    assert here.deliver() == 1
    row = look(here, message)
    assert (row.state, row.tries, row.reason) == ("sent", 1, None)
    assert [row.address, row.subject, row.text, row.html, row.stop_url] == [None] * 5
    assert row.provider_ref
    assert here.deliver() == 0
    assert accepted(here, message) == 1
    (taken,) = judge.read(here.sandbox.log_path)
    assert taken.to == [ADDRESS[channel]]


def test_many_messages_of_both_channels_are_under_way_at_once_and_each_arrives_once(here: World) -> None:
    first = queue(here, Channel.EMAIL)
    police = look(here, first).controller_id
    messages = [first]
    for n in range(1, 31):
        messages.append(queue(here, Channel.EMAIL, controller=police, address=f"p{n}@people.example"))
        messages.append(queue(here, Channel.SMS, controller=police, address=f"+4477009006{n:02d}"))
    here.faults(email={"latency_ms": 100}, sms={"latency_ms": 100})
    assert here.deliver() == 61
    assert {look(here, m).state for m in messages} == {"sent"}
    assert [accepted(here, m) for m in messages] == [1] * 61


@BOTH
def test_two_workers_at_once_send_once(here: World, channel: Channel) -> None:
    first = queue(here, channel)
    police = look(here, first).controller_id
    tail = "{}@people.example" if channel is Channel.EMAIL else "+44770090080{}"
    messages = [first] + [queue(here, channel, controller=police, address=tail.format(n)) for n in range(9)]
    here.faults(**{channel: {"latency_ms": 150}})
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(here.deliver())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(counts) == 10
    assert [accepted(here, m) for m in messages] == [1] * 10
    assert {look(here, m).state for m in messages} == {"sent"}


# -- what happened decides what may follow
@BOTH
def test_a_worker_lost_between_claim_and_record_leaves_doubt_that_is_never_sent_again(
    here: World, channel: Channel
) -> None:
    message = queue(here, channel)
    with here.worker.sessions.begin() as session:
        assert [m.id for m in outgoing.claim_due(session, 20, utc_now())] == [message]
    assert here.deliver() == 0
    assert look(here, message).state == "sending"
    here.run("UPDATE service_messages SET opened_at = now() - interval '10 minutes'")
    with here.worker.sessions.begin() as session:  # the scheduler sees it without any ring
        schedule.sweep(session, 60)
    row = look(here, message)
    assert (row.state, row.reason, row.address, row.text) == ("in_doubt", "worker lost", None, None)
    assert here.deliver() == 0
    assert accepted(here, message) == 0


@BOTH
def test_429_is_tried_again_after_as_long_as_asked_and_arrives_once(here: World, channel: Channel) -> None:
    message = queue(here, channel)
    here.faults(**{channel: {"status": {"code": 429, "retry_after": 77, "times": 1}}})
    before = utc_now()
    assert here.deliver() == 1
    row = look(here, message)
    assert (row.state, row.tries) == ("waiting", 1)
    assert row.address == ADDRESS[channel]
    assert row.not_before >= before + timedelta(seconds=77)
    assert here.deliver() == 0
    now_due(here, message)
    assert here.deliver() == 1
    assert look(here, message).state == "sent"
    assert accepted(here, message) == 1


@BOTH
@pytest.mark.parametrize("fault", [{"hang": "after"}, {"hang": "before"}, {"status": 503}, {"drop": "after"}])
def test_bytes_that_left_without_an_answer_are_in_doubt_and_never_sent_again(
    here: World, channel: Channel, fault: dict[str, object]
) -> None:
    message = queue(here, channel)
    here.faults(**{channel: fault})
    assert here.deliver() == 1
    row = look(here, message)
    assert (row.state, row.address) == ("in_doubt", None)
    taken = accepted(here, message)
    here.sandbox._server.get_loop().call_soon_threadsafe(here.sandbox.faults.clear)
    assert here.deliver() == 0
    assert accepted(here, message) == taken


@BOTH
def test_a_provider_that_is_not_there_was_told_nothing_so_the_message_waits(
    here: World, channel: Channel
) -> None:
    message = queue(here, channel)
    there = f"http://127.0.0.1:{free_port()}"
    with another_worker(here, TWILIO_BASE_URL=there, SENDGRID_BASE_URL=there, TWILIO_ACCOUNT_SID=ACCOUNT):
        assert here.deliver() == 1
    assert look(here, message).state == "waiting"
    now_due(here, message)
    here.deliver()
    assert accepted(here, message) == 1


@BOTH
def test_a_channel_in_doubt_is_left_alone_for_a_while_and_the_other_goes_on(
    here: World, channel: Channel
) -> None:
    other = Channel.SMS if channel is Channel.EMAIL else Channel.EMAIL
    silent, well = queue(here, channel), queue(here, other)

    async def go() -> None:
        engine = here.engine()
        engine.routes.heard(channel, FIRST[channel], [DOUBT])
        assert await send_due(engine, 5) == 1
        engine.routes.forgive(channel, FIRST[channel])
        assert await send_due(engine, 5) == 1
        await engine.aclose()

    asyncio.run(go())
    assert [accepted(here, m) for m in (silent, well)] == [1, 1]


@BOTH
def test_a_worker_that_was_frozen_past_its_lease_sends_nothing_when_it_wakes(
    here: World, channel: Channel
) -> None:
    message = queue(here, channel)

    async def wake() -> None:
        engine = here.engine()
        with here.worker.sessions.begin() as session:
            (claimed,) = outgoing.claim_due(session, 20, utc_now())
        _, result = await _carry(engine, claimed, time.monotonic() - 1)
        assert result.outcome is Outcome.NOT_TAKEN
        await engine.aclose()

    asyncio.run(wake())
    assert (look(here, message).state, accepted(here, message)) == ("waiting", 0)


def test_an_answer_that_comes_after_the_sweep_is_evidence(committed: Database, tmp_path: Path) -> None:
    with world(committed, tmp_path) as here:
        message = queue(here, Channel.EMAIL)
        here.faults(email={"hold": {"times": 1, "when": "before"}})
        thread = threading.Thread(target=here.deliver)
        thread.start()
        wait_until(lambda: here.sandbox.gauge()["held"]["email"] == 1, what="the call that hangs")
        here.run("UPDATE service_messages SET opened_at = now() - interval '10 minutes'")
        assert here.deliver() == 0
        assert look(here, message).state == "in_doubt"
        here.sandbox._server.get_loop().call_soon_threadsafe(here.sandbox.faults.release, "email")
        thread.join(30)
        assert not thread.is_alive()
        assert (look(here, message).state, accepted(here, message)) == ("sent", 1)


# -- who is not written to
def test_a_number_that_said_stop_gets_nothing_and_after_start_it_does(here: World) -> None:
    message = queue(here, Channel.SMS)
    row = look(here, message)
    digest = crypto.keyring().digest("phone", ADDRESS[Channel.SMS])
    with here.worker.sessions.begin() as session:
        inbound.stop(session, row.sender_id, digest)  # type: ignore[arg-type]
    assert here.deliver() == 0
    refused = look(here, message)
    assert (refused.state, refused.reason, refused.address) == ("refused", "stopped", None)
    with here.worker.sessions.begin() as session:
        inbound.start(session, row.sender_id, digest)  # type: ignore[arg-type]
    again = queue(here, Channel.SMS, controller=row.controller_id)
    assert here.deliver() == 1
    assert [accepted(here, m) for m in (message, again)] == [0, 1]


def test_a_stop_that_only_the_provider_knew_becomes_ours(here: World) -> None:
    here.faults(sms={"recipients": {"opted_out": [ADDRESS[Channel.SMS]]}})
    message = queue(here, Channel.SMS)
    assert here.deliver() == 1
    row = look(here, message)
    assert (row.state, row.reason) == ("refused", "21610")
    with here.looking() as session:
        assert session.scalars(sa.select(Suppression.reason)).all() == ["stop"]
    second = queue(here, Channel.SMS, controller=row.controller_id)
    assert here.deliver() == 0
    assert look(here, second).reason == "stopped"


@BOTH
def test_an_expired_message_is_not_sent(here: World, channel: Channel) -> None:
    message = queue(here, channel, seconds=-1)
    assert here.deliver() == 0
    row = look(here, message)
    assert (row.state, row.address) == ("expired", None)
    assert accepted(here, message) == 0


@BOTH
def test_a_made_up_address_never_leaves_for_a_real_provider(here: World, channel: Channel) -> None:
    message = queue(here, channel)
    real = {
        "TWILIO_BASE_URL": "https://api.twilio.invalid",
        "SENDGRID_BASE_URL": "https://api.sendgrid.invalid",
    }
    with another_worker(here, TWILIO_ACCOUNT_SID=ACCOUNT, **real):
        assert here.deliver() == 1
    row = look(here, message)
    assert (row.state, row.reason) == ("refused", "synthetic")


# -- rings and polls
def test_the_poll_without_a_queue_delivers_too_and_the_scheduler_rings_for_what_is_due(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with here.worker.sessions() as session:
        schedule.sweep(session, 60)
        assert not rings(session)
        session.rollback()
    queue(here, Channel.EMAIL)
    with here.worker.sessions() as session:
        schedule.sweep(session, 60)
        assert [(r.lane, r.job, r.coalesce) for r in rings(session)] == [("urgent", post.JOB, post.PILE)]
        session.rollback()
    for kind in ("urgent", "bulk"):
        message = queue(here, Channel.SMS)
        with polled_by(here, monkeypatch):
            assert main.POLLS[kind]() >= 1
        assert accepted(here, message) == 1


def rings(session) -> list:
    return list(session.info.get("wardlink_rings", {}))


@contextmanager
def polled_by(here: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is a worker of the test's world."""
    with asyncio.Runner() as runner:
        engine = here.engine()
        for name, value in (("registry", here.worker), ("engine", engine), ("runner", runner)):
            monkeypatch.setattr(runtime, name, lambda value=value: value)
        yield
        runner.run(engine.aclose())


# -- receipts
def test_who_complains_about_a_service_message_is_left_alone_by_its_controller(here: World) -> None:
    with here.making() as makes:
        contact = makes.contact()
    message = queue(here, Channel.EMAIL, contact_id=contact.id)
    here.deliver()
    with here.app.sessions.begin() as session:
        events = [ledger.event(message, 1, kind) for kind in ("delivered", "spamreport")]
        receipts.store(
            session, "sendgrid", ledger.body(*[e | {"wl": f"{message.hex}.0.1.1"} for e in events])
        )
    for expected in (1, 0):
        with here.worker.sessions.begin() as session:
            assert merge_some(session).suppressed == expected
    with here.looking() as session:
        (row,) = session.scalars(sa.select(Suppression)).all()
    assert (row.controller_id, row.reason, row.digest) == (
        look(here, message).controller_id, "complaint", contact.digest,
    )  # fmt: skip


# -- the providers' specifications
@pytest.fixture
def provider(committed: Database, tmp_path: Path) -> Iterator[tuple[World, int]]:
    port = free_port()
    there = f"http://127.0.0.1:{port}"
    changes = {
        "SENDGRID_BASE_URL": there, "TWILIO_BASE_URL": there, "TWILIO_ACCOUNT_SID": ACCOUNT,
        "EMAIL_FROM": "alerts@site.example", "EMAIL_FROM_NAME": "The Site",
    }  # fmt: skip
    with world(committed, tmp_path, **changes) as made:
        yield made, port


def received(here: World, port: int, *actions: object) -> list[Request]:
    async def go() -> list[Request]:
        async with Server(*actions, port=port) as server:  # type: ignore[arg-type]
            engine = here.engine()
            await send_due(engine, 20.0)
            await engine.aclose()
            return server.requests

    return asyncio.run(asyncio.wait_for(go(), 60))


@pytest.mark.parametrize("stop_url", [None, "https://wardlink.example/not-me/abc"])
@pytest.mark.parametrize("ours", [True, False])
def test_an_email_is_what_sendgrids_specification_says_with_a_stop_link_only_where_there_is_one(
    provider: tuple[World, int], stop_url: str | None, ours: bool
) -> None:
    here, port = provider
    with here.making() as makes:
        police = makes.organisation("Police; Camden")
        sender = None if ours else makes.sender(police).address
        values = {
            "address": ADDRESS[Channel.EMAIL],
            "expires_at": utc_now() + timedelta(hours=1),
            "now": utc_now(),
        }
        message = post.queue_email(
            makes.session, kind="confirm", content=CODE, controller=police.id, stop_url=stop_url,
            synthetic=True, **values,  # type: ignore[arg-type]
        )  # fmt: skip
    (request,) = received(here, port, Server.answer(202, X_Message_Id="abc"))
    valid("sendgrid_mail.json", request, "https://api.sendgrid.com", "application/json")
    mail = orjson.loads(request.body)
    assert set(mail) == {"personalizations", "from", "subject", "content", "headers", "tracking_settings"}
    (person,) = mail["personalizations"]
    assert person["to"] == [{"email": ADDRESS[Channel.EMAIL]}]
    assert person["substitutions"] == {}
    assert DeliveryRef.parse(person["custom_args"]["wl"]) == DeliveryRef(message, 0, 1, 1)
    assert person["headers"] == ({"List-Unsubscribe": f"<{stop_url}>"} if stop_url else {})
    assert mail["headers"] == ({"List-Unsubscribe-Post": "List-Unsubscribe=One-Click"} if stop_url else {})
    wanted = ("alerts@site.example", "The Site") if ours else (sender, "Police Camden")
    assert (mail["from"]["email"], mail["from"]["name"]) == wanted
    assert mail["subject"] == CODE.subject
    assert [part["value"] for part in mail["content"]] == [CODE.text, CODE.html]


def test_a_text_is_what_twilios_specification_says_and_dies_with_its_code(
    provider: tuple[World, int],
) -> None:
    here, port = provider
    message = queue(here, Channel.SMS, seconds=100)
    (request,) = received(here, port, Server.answer(201, {"sid": SID, "status": "queued"}))
    form = "application/x-www-form-urlencoded"
    valid("twilio_create_message.json", request, "https://api.twilio.com", form)
    fields = {k: v[0] for k, v in parse_qs(request.body.decode(), strict_parsing=True).items()}
    assert set(fields) == {"To", "From", "Body", "ValidityPeriod", "StatusCallback"}
    assert (fields["To"], fields["Body"]) == (ADDRESS[Channel.SMS], "Your code is 123456")
    assert 80 <= int(fields["ValidityPeriod"]) <= 100
    assert fields["StatusCallback"].startswith(f"{URL}/hooks/twilio/status?ref=")
    ref = parse_qs(urlsplit(fields["StatusCallback"]).query)["ref"][0]
    assert DeliveryRef.parse(ref) == DeliveryRef(message, 0, 1, 1)
    document = json.loads((Path(__file__).parents[1] / "specs" / "twilio_create_message.json").read_text())
    (operation,) = (path["post"] for path in document["paths"].values())
    assert set(fields) <= set(operation["requestBody"]["content"][form]["schema"]["properties"])
    assert look(here, message).provider_ref == SID
