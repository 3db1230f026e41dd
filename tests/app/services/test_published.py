"""What the public reads of alerts: when, where, and never what is restricted, drafted or an exercise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Missing
from app.models.alerts import AlertArea
from app.models.areas import Area
from app.services import dispatch, published, teams
from tests.factories import ACTOR, Makes

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
URL = "http://127.0.0.1:8000"


def references(session: Session, *places: Area, **more: object) -> list[str]:
    values: dict[str, object] = {"before": None, "most": 100, "now": NOW}
    found = published.listed(session, [p.id for p in places], **(values | more))  # type: ignore[arg-type]
    return [one.reference for one in found]


def areas_of(session: Session, alert: object) -> set[int]:
    return set(session.scalars(sa.select(AlertArea.area_id).where(AlertArea.alert_id == alert.id)))  # type: ignore[attr-defined]


def test_the_first_sending_publishes_and_an_exercise_does_not(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    _, here, there = makes.borough()
    makes.resident(police, here)
    alert = makes.alert(police, [here, there])

    def send(token: str, at: datetime, **more: object) -> None:
        dispatch.send(session, alert.id, token=token, actor=ACTOR, public_url=URL, now=at, **more)  # type: ignore[arg-type]

    send("token-exercise", NOW, exercise=True)
    assert alert.sent_at is None
    assert references(session, here) == []
    with pytest.raises(Missing):
        published.alert(session, alert.reference, now=NOW)
    send("token-first", NOW + timedelta(hours=1))
    send("token-second", NOW + timedelta(hours=2))
    assert alert.sent_at == NOW + timedelta(hours=1)
    assert areas_of(session, alert) == {here.id, there.id}
    assert published.alert(session, alert.reference, now=NOW + timedelta(hours=1)).headline == alert.headline


def test_an_alert_that_waits_for_its_hour_is_not_public_before_it(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    _, here, _ = makes.borough()
    alert = makes.alert(police, [here])
    later = NOW + timedelta(hours=3)
    dispatch.send(
        session, alert.id, token="token-later", actor=ACTOR, public_url=URL, now=NOW, not_before=later
    )
    assert references(session, here) == []
    with pytest.raises(Missing):
        published.alert(session, alert.reference, now=NOW)
    assert published.genuine(session, alert.reference, now=NOW) is None
    assert references(session, here, now=later) == [alert.reference]
    assert published.genuine(session, alert.reference, now=later) is not None


def test_a_restricted_alert_is_in_no_list_and_has_no_page_but_is_genuine(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    _, here, _ = makes.borough()
    alert = makes.published(police, [here], at=NOW, restricted=True)
    assert alert.sent_at == NOW
    assert areas_of(session, alert) == set()
    assert references(session, here) == []
    with pytest.raises(Missing):
        published.alert(session, alert.reference, now=NOW)
    found = published.genuine(session, alert.reference, now=NOW)
    assert found is not None
    assert (found.organisation, found.headline, found.channels) == (police.name, None, ("email",))


def test_draft_exercise_restricted_and_unknown_look_alike(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, here, _ = makes.borough()
    wanted = [
        makes.alert(police, [here]).reference,
        makes.published(police, [here], at=NOW, restricted=True).reference,
        "WL-BCDFGHJ",
        "",
        "\x00",
        "W" * 5_000,
    ]
    said = set()
    for reference in wanted:
        with pytest.raises(Missing) as missing:
            published.alert(session, reference, now=NOW)
        said.add(missing.value.message)
    assert len(said) == 1


def test_a_reference_is_found_however_it_was_typed(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, here, _ = makes.borough()
    alert = makes.published(police, [here], at=NOW)
    plain = alert.reference.removeprefix("WL-")
    for typed in (
        alert.reference.lower(),
        f"  {plain} ",
        f"wl {plain[:3]} {plain[3:]}",
        f"WL{plain}",
        f"Ref WL\u2011{plain}.",
    ):
        found = published.genuine(session, typed, now=NOW)
        assert found is not None and found.reference == alert.reference, typed
        assert found.headline == alert.headline
    assert published.genuine(session, makes.alert(police, [here]).reference, now=NOW) is None


def test_an_exercise_is_genuine_and_says_that_it_was_one(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    makes.sender(police)
    _, here, _ = makes.borough()
    alert = makes.alert(police, [here])
    dispatch.send(session, alert.id, token="token-drill", actor=ACTOR, public_url=URL, now=NOW, exercise=True)
    found = published.genuine(session, alert.reference, now=NOW)
    assert found is not None
    assert (found.exercise, found.headline, found.first_sent) == (True, None, NOW)


def test_lists_page_without_a_gap_or_a_repeat_even_among_equal_times(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    borough, here, there = makes.borough()
    made = [
        # Some at the same moment, some to several of the areas that are asked for.
        makes.published(police, [here, there][: 1 + n % 2], at=NOW - timedelta(minutes=n // 3)).reference
        for n in range(12)
    ]
    everything = references(session, borough, here, there)
    assert sorted(everything) == sorted(made)
    paged: list[str] = []
    before = None
    while page := published.listed(session, [borough.id, here.id, there.id], before=before, most=5, now=NOW):
        paged += [one.reference for one in page]
        before = published.cursor(str(page[-1].cursor))
        assert before == page[-1].cursor
    assert paged == everything


def test_an_alert_that_leaves_an_area_out_is_not_listed_there(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    borough, here, there = makes.borough()
    alert = makes.published(
        police,
        [borough],
        at=NOW,
        audience_expression={"areas": [borough.code], "except_areas": [there.code]},
    )
    for place, shown in ((here, [alert.reference]), (there, [])):
        assert references(session, borough, place, left_out=[place.code, borough.code]) == shown


@pytest.mark.parametrize(
    "text", ["", "x", "1-2", f"{'9' * 18}-{'0' * 32}", f"1-{'G' * 32}", "１-" + "0" * 32]
)
def test_a_cursor_that_is_none_is_none(text: str) -> None:
    assert published.cursor(text) is None


def test_the_largest_cursor_can_be_asked_for(session: Session, makes: Makes) -> None:
    found = published.cursor(f"{'9' * 17}-{'f' * 32}")
    assert found is not None
    assert published.listed(session, [1], before=found, most=5) == []


def test_the_page_of_an_alert_names_its_team_and_its_areas_and_nobody(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    borough, here, _ = makes.borough()
    team = makes.team(police, [borough])
    alert = makes.published(
        police, [here, borough], at=NOW, headline="Dear ((name))", body="Hello ((name)), ((Name)).",
        what_to_do="((name))", team=team.id,
    )  # fmt: skip
    shown = published.alert(session, alert.reference, now=NOW)
    assert (shown.headline, shown.body, shown.what_to_do) == (
        "Dear neighbour",
        "Hello neighbour, neighbour.",
        "neighbour",
    )
    assert shown.team is not None and shown.team.id == team.id
    assert [(one.code, within) for one, within in shown.areas] == [(borough.code, None)]
    assert shown.more_areas == 0
    teams.end(session, team.id, actor=ACTOR)
    assert published.alert(session, alert.reference, now=NOW).team is None


def test_the_page_of_an_alert_names_some_of_many_areas_and_counts_the_rest(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    borough, *wards = makes.borough(wards=published.MOST_NAMED + 3)
    shown = published.alert(session, makes.published(police, wards, at=NOW).reference, now=NOW)
    assert len(shown.areas) == published.MOST_NAMED
    assert shown.more_areas == 3
    assert {within for _, within in shown.areas} == {borough.name}


def test_senders_are_listed_by_organisation_and_only_those_in_use(session: Session, makes: Makes) -> None:
    police = makes.organisation("A Test Police")
    mail, text = makes.sender(police), makes.sender(police, "sms")
    makes.sender(police, lane="urgent")
    makes.sender(police, "sms", lane="urgent").active = False
    session.flush()
    found = next(one for one in published.senders(session) if one.organisation_id == police.id)
    assert (police.name, mail.address) in found.email
    assert len(found.email) == 2
    assert found.sms == (text.address,)


def test_the_start_of_an_alert_is_one_line_of_plain_text() -> None:
    body = "# Stolen\n\nThree **bicycles** " + "word " * 100
    assert published.start(body).startswith("Stolen Three bicycles word")
    assert len(published.start(body)) <= 300
    assert published.start(body).endswith("word…")
