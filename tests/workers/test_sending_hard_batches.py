"""Batches that hold somebody who cannot be reached: everybody else is, once. Judged by the sandbox's log."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.models.consent import Suppression
from app.models.people import ContactPoint
from messaging import render
from messaging.types import Channel, DeliveryStatus
from tests.conftest import Database
from tests.sending import World, world

ONCE = 1


@pytest.fixture
def here(committed: Database, tmp_path: Path) -> Iterator[World]:
    with world(committed, tmp_path) as made:
        yield made


def _hard_mail(here: World) -> tuple[object, list[int], ContactPoint, ContactPoint]:
    """A dispatch to nine people, two of them at one address; (dispatch, the well, malformed, over-long)."""
    with here.making() as makes:
        police = makes.organisation()
        makes.sender(police)
        _, ward, other = makes.borough()
        well = [makes.resident(police, ward, salutation=f"Person {n}") for n in range(6)]
        shared = makes.resident(police, ward, address="Home@people.example")
        again = makes.resident(police, other, address="home@PEOPLE.example")
        assert shared.id == again.id
        malformed = here.imported(makes, police, ward, "no address at all")
        long = makes.resident(police, ward)
        # As long as the table takes it; as mark-up each "&" takes five times the room, and that the provider refuses.
        long.salutation = ("Wolfeschlegelstein" + "&" * 82) * 20
        assert len(long.salutation) == 2_000
        sent = here.send(makes, makes.alert(police, [ward, other], body="Hello ((name)), lock your shed."))
    return sent, [*(c.id for c in well), shared.id], malformed, long


def _mail_body(here: World) -> str:
    """What the sandbox's inbox shows of the mail that it took."""
    return here.sandbox._inbox.page("").decode()


def test_a_batch_with_a_shared_address_a_malformed_address_and_an_over_long_substitution_reaches_all_the_others_once(
    here: World,
) -> None:
    sent, well, malformed, long = _hard_mail(here)
    here.drain()
    assert here.reached(sent) == dict.fromkeys([*well, long.id], ONCE)
    assert here.statuses(sent) == {
        **dict.fromkeys([*well, long.id], DeliveryStatus.ACCEPTED),
        malformed.id: DeliveryStatus.REFUSED,
    }
    assert here.reasons(sent)[malformed.id] == "bad-address"
    (line,) = here.balance(sent)
    assert (line.recipients, line.accepted, line.refused, line.waiting) == (9, 8, 1, 0)


def test_a_name_of_2000_characters_is_trimmed_before_it_leaves(here: World) -> None:
    _, _, _, long = _hard_mail(here)
    here.drain()
    page = _mail_body(here)
    assert escape(long.salutation[: render.LONGEST_NAME]) in page
    assert escape(long.salutation[: render.LONGEST_NAME + 1]) not in page


def test_a_substitution_that_the_provider_refuses_fails_its_person_and_reaches_all_the_others_once(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(render, "LONGEST_NAME", 50_000)
    sent, well, malformed, long = _hard_mail(here)
    here.drain()
    assert here.reached(sent) == dict.fromkeys(well, ONCE)
    statuses, reasons = here.statuses(sent), here.reasons(sent)
    assert {c for c, status in statuses.items() if status is DeliveryStatus.ACCEPTED} == set(well)
    assert (statuses[malformed.id], reasons[malformed.id]) == (DeliveryStatus.REFUSED, "bad-address")
    assert (statuses[long.id], reasons[long.id]) == (DeliveryStatus.REFUSED, "substitutions")
    assert [a.outcome for a in here.attempts(sent)] == ["not_taken", "taken"]
    (line,) = here.balance(sent)
    assert (line.accepted, line.refused) == (7, 2)
    assert here.batch(sent).state == "done"


def test_a_refusal_that_cannot_be_read_is_halved_until_the_others_are_reached(here: World) -> None:
    sent, well, malformed, long = _hard_mail(here)
    # The first two answers name nobody; the third names the malformed one in its half.
    here.faults(email={"status": {"code": 400, "times": 2}})
    here.drain()
    assert here.reached(sent) == dict.fromkeys([*well, long.id], ONCE)
    assert here.statuses(sent)[malformed.id] is DeliveryStatus.REFUSED
    assert {a.outcome for a in here.attempts(sent)} == {"not_taken", "taken"}
    assert len(here.attempts(sent)) >= 4
    here.balance(sent)


def test_a_refusal_that_never_says_whom_it_means_ends_with_each_one_refused_alone(here: World) -> None:
    with here.making() as makes:
        police = makes.organisation()
        makes.sender(police)
        _, ward, _ = makes.borough()
        people = [makes.resident(police, ward).id for _ in range(5)]
        sent = here.send(makes, makes.alert(police, [ward]))
    here.faults(email={"status": {"code": 400}})
    here.drain()
    assert not here.reached(sent)
    assert here.statuses(sent) == dict.fromkeys(people, DeliveryStatus.REFUSED)
    assert len(here.attempts(sent)) == 2 * len(people) - 1
    here.balance(sent)


def test_sms_with_an_opted_out_and_an_invalid_number_reaches_all_the_others_once(here: World) -> None:
    with here.making() as makes:
        police, council = makes.organisation(), makes.organisation("Council")
        sender = makes.sender(police, "sms")
        _, ward, _ = makes.borough()
        people = [makes.resident(police, ward, channel=Channel.SMS) for _ in range(8)]
        opted_out, invalid, *well = people
        sent = here.send(makes, makes.alert(police, [ward], channels=["sms"]))
        numbers = [opted_out.address, invalid.address]
    here.faults(sms={"recipients": {"opted_out": [numbers[0]], "invalid": [numbers[1]]}})
    here.drain()
    assert here.reached(sent) == {c.id: ONCE for c in well}
    statuses, reasons = here.statuses(sent), here.reasons(sent)
    assert {c for c, status in statuses.items() if status is DeliveryStatus.ACCEPTED} == {c.id for c in well}
    assert (statuses[opted_out.id], reasons[opted_out.id]) == (DeliveryStatus.STOPPED, "21610")
    assert (statuses[invalid.id], reasons[invalid.id]) == (DeliveryStatus.REFUSED, "21211")
    with here.looking() as session:
        (held,) = session.scalars(sa.select(Suppression)).all()
    assert (held.digest, held.controller_id, held.sender_id, held.reason) == (
        opted_out.digest,
        police.id,
        sender.id,
        "stop",
    )
    assert council.id != police.id
    (line,) = here.balance(sent)
    assert (line.recipients, line.accepted, line.stopped, line.refused) == (8, 6, 1, 1)
    with here.making() as makes:
        next_one = here.send(
            makes,
            makes.alert(police, [makes.session.merge(ward)], channels=["sms"]),
        )
    here.faults(sms={})
    here.drain()
    assert opted_out.id not in here.reached(next_one), "what the provider told us holds from now on"
    assert here.reached(next_one)[invalid.id] == ONCE
