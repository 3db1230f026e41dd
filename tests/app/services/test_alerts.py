"""Drafting an alert: what cannot be sent is refused while somebody can still mend it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import new_id
from app.models.alerts import Alert
from app.models.audit import AuditEntry
from app.services import alerts
from app.services.errors import Invalid, Missing
from tests.factories import Makes


def test_a_draft_stands_with_its_reference_and_an_entry_on_the_record(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    alert = makes.alert(police, [ward], headline="  Sheds broken into  ", channels=["email", "sms", "email"])
    assert (alert.state, alert.headline, alert.channels) == ("draft", "Sheds broken into", ["email", "sms"])
    entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "alert:draft")).one()
    assert (entry.subject, entry.organisation_id) == (f"alert:{alert.id}", police.id)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"kind": "rumour"}, "kind"),
        ({"urgency": "soon"}, "urgency"),
        ({"topic": "gossip"}, "topic"),
        ({"headline": " "}, "headline"),
        ({"headline": "x" * 121}, "headline"),
        ({"body": ""}, "body"),
        ({"body": "x" * 10_001}, "body"),
        ({"body": "a\x00b"}, "body"),
        ({"body": "a\ud800b"}, "body"),
        ({"body": "Hello ((surname))"}, "body"),
        ({"body": "Hello ((name"}, "body"),
        ({"body": "[here](https://police.example/((name)))"}, "body"),
        ({"what_to_do": "x" * 1_001}, "what_to_do"),
        ({"sms_text": "x" * 613}, "sms_text"),
        ({"sms_text": "write {stop} here"}, "sms_text"),
        ({"channels": []}, "channels"),
        ({"channels": ["pigeon"]}, "channels"),
        ({"audience_expression": {}}, "audience"),
        ({"audience_expression": {"areas": []}}, "audience"),
        ({"audience_expression": {"areas": "E05000001"}}, "audience"),
        ({"audience_expression": {"areas": [7]}}, "audience"),
        ({"audience_expression": {"areas": ["E05\x00"]}}, "audience"),
        ({"audience_expression": {"areas": [f"E{n}" for n in range(2_001)]}}, "audience"),
        ({"audience_expression": {"areas": ["E05999999"]}}, "audience"),
        ({"audience_expression": {"areas": ["E05999999"], "near": "me"}}, "audience"),
        ({"audience_expression": []}, "audience"),
    ],
)
def test_what_cannot_be_sent_is_refused_by_the_name_of_its_field(
    session: Session, makes: Makes, changes: dict[str, object], field: str
) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    with pytest.raises(Invalid) as refused:
        makes.alert(police, [ward], **changes)
    assert refused.value.field == field
    assert refused.value.message.endswith((".", "?"))
    assert session.scalar(sa.select(sa.func.count()).select_from(Alert)) == 0


def test_an_organisation_that_is_not_there_drafts_nothing(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    with pytest.raises(Missing):
        makes.alert(police, [ward], controller=new_id())


@pytest.mark.parametrize("shape", ["{0}", "{1}", " {0} ", "{2}", "{3}", "{4}"])
def test_an_alert_is_found_by_its_reference_however_it_is_typed(
    session: Session, makes: Makes, shape: str
) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    alert = makes.alert(police, [ward])
    bare = alert.reference.removeprefix("WL-")
    typed = shape.format(
        alert.reference, alert.reference.lower(), bare, f"wl{bare}", f"wl - {bare[:3]} {bare[3:]}"
    )
    assert alerts.by_reference(session, typed) == alert


@pytest.mark.parametrize(
    "typed", ["", "WL-", "WL-0000000", "WL-2222222", "x" * 500, "WL-222222\x00", "ＷＬ-2222222"]
)
def test_a_reference_of_nothing_is_missing(session: Session, typed: str) -> None:
    with pytest.raises(Missing, match="no alert with this reference"):
        alerts.by_reference(session, typed)


def test_references_spell_nothing_and_differ() -> None:
    made = {alerts.new_reference() for _ in range(500)}
    assert len(made) == 500
    assert not set("".join(made).replace("WL-", "")) & set("AEIOU01Ll")
