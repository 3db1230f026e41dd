"""Drafting an alert: what cannot be sent is refused while somebody can still mend it."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.db import new_id
from app.errors import Conflict, Invalid, Missing
from app.models.alerts import Alert
from app.models.audit import AuditEntry
from app.services import alerts, dispatch
from tests.factories import ACTOR, Makes


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
        ({"how_to_tell": "x" * 501}, "how_to_tell"),
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


def words(**changes: object) -> dict[str, object]:
    return {
        "kind": "appeal", "urgency": "urgent", "topic": "events", "headline": " A new headline ", "body": "New.",
        "audience_expression": {"areas": []}, "channels": ["sms"], "how_to_tell": "Call 101.",
    } | changes  # fmt: skip


def test_a_draft_is_written_anew_and_keeps_its_reference(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, other = makes.borough()
    alert = makes.alert(police, [ward])
    before, reference = alert.changed_at, alert.reference
    where = {"audience_expression": {"areas": [other.code]}}
    alerts.change(session, alert, seen=before, actor=ACTOR, **words(**where))  # type: ignore[arg-type]
    assert (alert.headline, alert.body, alert.kind, alert.how_to_tell) == (
        "A new headline",
        "New.",
        "appeal",
        "Call 101.",
    )
    assert (alert.what_to_do, alert.sms_text, alert.channels) == ("", "", ["sms"])
    assert (alert.reference, alert.audience) == (reference, {"areas": [other.code]})
    assert alert.changed_at > before
    entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "alert:alter")).one()
    assert (entry.subject, entry.organisation_id) == (f"alert:{alert.id}", police.id)


def test_a_change_that_cannot_be_sent_changes_nothing(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    alert = makes.alert(police, [ward])
    seen, where = alert.changed_at, {"audience_expression": {"areas": [ward.code]}}
    for wrong in (
        {"headline": ""},
        {"body": "((who))"},
        {"sms_text": "{stop}"},
        {"channels": []},
        {"kind": "x"},
    ):
        with pytest.raises(Invalid):
            alerts.change(session, alert, seen=seen, actor=ACTOR, **words(**where, **wrong))  # type: ignore[arg-type]
    assert not session.is_modified(alert)
    assert alert.headline == "Bicycles stolen from front gardens"


def test_what_somebody_else_changed_or_sent_is_not_changed(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    _, ward, _ = makes.borough()
    alert = makes.alert(police, [ward])
    seen, where = alert.changed_at, {"audience_expression": {"areas": [ward.code]}}
    alerts.change(session, alert, seen=seen, actor=ACTOR, **words(**where))  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="Somebody else"):
        alerts.change(session, alert, seen=seen, actor=ACTOR, **words(**where))  # type: ignore[arg-type]
    sent = makes.alert(police, [ward])
    dispatch.send(session, sent.id, token="token-0001", actor=ACTOR, public_url="http://127.0.0.1:8000")
    with pytest.raises(Conflict, match="has been sent"):
        alerts.change(session, sent, seen=sent.changed_at, actor=ACTOR, **words(**where))  # type: ignore[arg-type]
    with pytest.raises(Conflict, match="has been sent"):
        alerts.discard(session, sent, actor=ACTOR)


def test_a_discarded_draft_is_gone_and_on_the_record(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    alert = makes.alert(police, [ward])
    alerts.discard(session, alert, actor=ACTOR)
    with pytest.raises(Missing):
        alerts.of_organisation(session, alert.id, police.id)
    entry = session.scalars(sa.select(AuditEntry).where(AuditEntry.event == "alert:discard")).one()
    assert entry.subject == f"alert:{alert.id}"


def test_an_alert_of_another_organisation_is_missing(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, ward, _ = makes.borough()
    alert = makes.alert(police, [ward])
    assert alerts.of_organisation(session, alert.id, police.id) == alert
    for controller in (makes.organisation().id, new_id()):
        with pytest.raises(Missing):
            alerts.of_organisation(session, alert.id, controller)


def test_a_list_goes_on_where_it_ended_even_among_alerts_of_one_moment(
    session: Session, makes: Makes
) -> None:
    """All drafts of a transaction have the same time."""
    police = makes.organisation()
    _, ward, _ = makes.borough()
    made = [makes.alert(police, [ward]) for _ in range(5)]
    found: list[Alert] = []
    while page := alerts.listed(
        session, police.id, "draft", before=(found[-1].changed_at, found[-1].id) if found else None, most=2
    ):
        found += page
    assert found == sorted(made, key=lambda one: (one.changed_at, one.id), reverse=True)
    assert alerts.listed(session, police.id, "sent", before=None, most=2) == []
