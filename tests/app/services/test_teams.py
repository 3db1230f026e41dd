"""Ward teams: what may stand on their public entry, and who finds them."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, Missing
from app.models.audit import AuditEntry
from app.models.teams import TeamMember
from app.services import team_entries, teams
from tests.factories import ACTOR, Makes


def test_a_ward_is_looked_after_by_its_own_teams_and_by_those_of_its_borough_the_nearest_first(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    borough, here, there = makes.borough()
    wide = makes.team(police, [borough], name="A wide team")
    near = makes.team(police, [here, there], name="Near team", phone="101")
    makes.team(police, [there], name="Another team")
    found = team_entries.of_ward(session, here.id)
    assert [one.id for one in found] == [near.id, wide.id]
    assert (found[0].organisation, found[0].phone, found[0].email) == (police.name, "101", None)
    assert [one.id for one in team_entries.of_ward(session, borough.id)] == [wide.id]


def test_a_name_stands_on_the_entry_only_if_its_bearer_agreed(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, here, _ = makes.borough()
    team = makes.team(police, [here])
    with pytest.raises(Invalid) as refused:
        teams.add_member(session, team.id, role="PC", name="A Person", actor=ACTOR)
    assert refused.value.field == "agreed"
    teams.add_member(session, team.id, role="Sergeant", name="B Person", agreed=True, actor=ACTOR)
    teams.add_member(session, team.id, role="PCSO", actor=ACTOR)
    shown = team_entries.of_ward(session, here.id)[0].members
    assert [(one.role, one.name) for one in shown] == [("Sergeant", "B Person"), ("PCSO", None)]
    with pytest.raises(sa.exc.IntegrityError), session.begin_nested():
        session.execute(sa.update(TeamMember).values(name="C Person", name_agreed_at=None))


def test_a_member_who_no_longer_agrees_is_taken_off(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, here, _ = makes.borough()
    team = makes.team(police, [here])
    teams.add_member(session, team.id, role="PC", name="B Person", agreed=True, actor=ACTOR)
    teams.remove_member(session, team.id, role="PC", name="B Person", actor=ACTOR)
    assert team_entries.of_ward(session, here.id)[0].members == ()
    with pytest.raises(Missing):
        teams.remove_member(session, team.id, role="PC", name="B Person", actor=ACTOR)


def test_a_team_that_ended_is_gone_and_so_are_the_names_on_it(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, here, _ = makes.borough()
    team = makes.team(police, [here], name="Short-lived")
    teams.add_member(session, team.id, role="PC", name="B Person", agreed=True, actor=ACTOR)
    teams.end(session, team.id, actor=ACTOR)
    assert team_entries.of_ward(session, here.id) == []
    assert team_entries.view(session, team.id) is None
    assert session.scalar(sa.select(sa.func.count()).where(TeamMember.team_id == team.id)) == 0
    for again in (
        lambda: teams.end(session, team.id, actor=ACTOR),
        lambda: teams.by_name(session, police.id, "Short-lived"),
        lambda: teams.add_member(session, team.id, role="PC", actor=ACTOR),
    ):
        with pytest.raises(Missing):
            again()
    makes.team(police, [here], name="Short-lived")  # the name is free again


def test_what_is_given_changes_and_the_rest_stays(session: Session, makes: Makes) -> None:
    police = makes.organisation()
    _, here, there = makes.borough()
    team = makes.team(
        police, [here], name="Team", email="team@police.example", url="https://police.example/x"
    )
    teams.alter(session, team.id, email="", phone="020 7946 0123", areas=[there.code], actor=ACTOR)
    assert team_entries.of_ward(session, here.id) == []
    shown = team_entries.of_ward(session, there.id)[0]
    assert (shown.name, shown.email, shown.phone, shown.url) == (
        "Team",
        None,
        "020 7946 0123",
        "https://police.example/x",
    )


def test_two_teams_of_an_organisation_do_not_share_a_name(session: Session, makes: Makes) -> None:
    police, other = makes.organisation(), makes.organisation()
    _, here, _ = makes.borough()
    makes.team(police, [here], name="Team")
    makes.team(other, [here], name="Team")
    second = makes.team(police, [here], name="Second")
    with pytest.raises(Conflict):
        makes.team(police, [here], name=" Team ")
    with pytest.raises(Conflict):
        teams.alter(session, second.id, name="Team", actor=ACTOR)
    teams.alter(session, second.id, name="Second", actor=ACTOR)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", " "),
        ("name", "x" * 201),
        ("name", "two\nlines"),
        ("about", "x" * 2_001),
        ("about", "a\x00b"),
        ("email", "no address"),
        ("phone", "call me"),
        ("phone", "+"),
        ("phone", "1" * 31),
        ("url", "http://police.example"),
        ("url", "javascript:alert(1)"),
        ("url", "https://"),
        ("url", "https://police"),
        ("url", "https://x@police.example"),
        ("url", "https://police.example:99999"),
        ("url", 'https://police.example/"onclick='),
        ("url", "https://police.example/a b"),
        ("url", "https://police.example/" + "x" * 300),
        ("areas", []),
        ("areas", ["E05999999"]),
    ],
)
def test_what_cannot_stand_on_a_page_is_refused_by_its_field(
    session: Session, makes: Makes, field: str, value: object
) -> None:
    police = makes.organisation()
    _, here, _ = makes.borough()
    values = {"name": "Team", "areas": [here.code], field: value}
    with pytest.raises(Invalid) as refused:
        teams.create(session, controller=police.id, actor=ACTOR, **values)  # type: ignore[arg-type]
    assert refused.value.field == field
    assert team_entries.of_ward(session, here.id) == []


def test_organisations_of_a_ward_are_those_with_a_team_there_else_every_police_force(
    session: Session, makes: Makes
) -> None:
    second, first = makes.organisation("Second Police"), makes.organisation("First Police")
    borough, here, _ = makes.borough()
    everybody = team_entries.controllers_of_ward(session, here.id)
    assert {(first.id, "First Police"), (second.id, "Second Police")} <= set(everybody)
    assert [name for _, name in everybody] == sorted(name for _, name in everybody)
    makes.team(second, [borough])
    makes.team(second, [here])
    assert team_entries.controllers_of_ward(session, here.id) == [(second.id, "Second Police")]


def test_teams_are_listed_page_by_page_and_every_change_is_on_the_record(
    session: Session, makes: Makes
) -> None:
    police = makes.organisation()
    _, here, _ = makes.borough()
    made = [makes.team(police, [here], name=f"Team {n}") for n in range(3)]
    assert [one.name for one in team_entries.of_organisation(session, police.id, after="Team 0")] == [
        "Team 1",
        "Team 2",
    ]
    teams.alter(session, made[0].id, about="New", actor=ACTOR)
    teams.end(session, made[0].id, actor=ACTOR)
    events = session.scalars(
        sa.select(AuditEntry.event).where(AuditEntry.subject == f"team:{made[0].id}").order_by(AuditEntry.id)
    ).all()
    assert events == ["team:create", "team:alter", "team:end"]
