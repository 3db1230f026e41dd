"""People of staff for every role in every place, and a site on which they may ask for anything without leaving a trace."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import sqlalchemy as sa
from flask import Flask
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from app.db import utc_now
from app.models.areas import Area
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.permissions import Role
from app.services import roles, sessions
from app.web import csrf
from app.web.guards import Guard, guard_of
from app.web.session import cookie_name
from tests.architecture.pages import forms_of
from tests.architecture.test_hostile_posts import Stage
from tests.factories import Makes

PLACES = ("inside", "everywhere", "outside", "elsewhere")


# What ends the session that looks.
ENDS = frozenset({"sign_in.sign_out", "account.end", "account.end_others"})


@dataclass
class Person:
    """Somebody with one role (or none) in one place, in a browser that has just shown both factors."""

    name: str
    role: Role | None
    place: str
    staff: Staff
    token: str
    seen: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass
class World:
    """A site with something behind every address, and a person for each role in each place."""

    stage: Stage
    people: list[Person]

    @property
    def app(self) -> Flask:
        return self.stage.client.application

    def head(self, person: Person) -> dict[str, str]:
        with self.app.test_request_context():
            return {"Cookie": f"{cookie_name()}={person.token}"}

    def token(self, person: Person) -> str:
        """A form token of theirs."""
        with self.app.test_request_context(headers=self.head(person)):
            return csrf.token()

    def ask(
        self, person: Person, method: str, path: str, form: dict[str, object] | None = None
    ) -> TestResponse:
        """One request, of which nothing stays."""
        head = self.head(person)
        with self.stage.taken_back():
            if method != "POST":
                return self.stage.client.open(path, method=method, headers=head)
            token = self.token(person)
            return self.stage.client.post(path, data={**(form or {}), csrf.FIELD: token}, headers=head)

    @cached_property
    def rules(self) -> list[Rule]:
        found = (r for r in self.app.url_map.iter_rules() if guard_of(self.app, r.endpoint) is Guard.STAFF)
        return sorted(found, key=lambda rule: rule.rule)

    def paths(self, rule: Rule, method: str) -> list[str]:
        filled = self.stage.filled
        return (filled.paths if method == "GET" else filled.taking)[rule.endpoint]

    def form(self, endpoint: str) -> dict[str, object]:
        """What its page would send, filled in."""
        typed: dict[str, object] = {}
        for name, values in self.stage.shown.get(endpoint, {}).items():
            typed[name] = values[0]
        return typed | self.stage.filled.typed.get(endpoint, {})

    def ways(self, page: str, path: str) -> Iterator[tuple[str, str, str]]:
        """Links and forms of a page that lead to pages for staff: (method, path, endpoint)."""
        found = [("GET", html.unescape(href)) for href in re.findall(r'<a [^>]*href="(/[^"]*)"', page)]
        found += [(form.method.upper(), form.action or path) for form in forms_of(page)]
        for method, target in found:
            bare = target.partition("#")[0].partition("?")[0]
            try:
                endpoint, _ = self.app.url_map.bind("localhost").match(bare, method=method)
            except HTTPException:
                continue
            if guard_of(self.app, endpoint) is Guard.STAFF and endpoint not in ENDS:
                yield method, target.partition("#")[0], endpoint


def people_of(makes: Makes, made: Stage) -> list[Person]:
    session, filled = makes.session, made.filled
    own = session.get_one(Staff, filled.officer_id)
    police = session.get_one(Organisation, own.organisation_id)
    # Investigators are of competent authorities alone.
    police.competent_authority = True
    elsewhere = makes.organisation("Other Police")
    elsewhere.competent_authority = True
    there, *_ = makes.borough()
    other_team, far_team = makes.team(police, [there]), makes.team(elsewhere, [there])
    here = session.scalars(sa.select(Area).where(Area.code == filled.borough)).one()
    people = []
    for role in (*Role, None):
        for place in PLACES if role else ("inside",):
            organisation = elsewhere if place == "elsewhere" else police
            team_id = {"inside": filled.team_id, "outside": other_team.id, "elsewhere": far_team.id}.get(
                place
            )
            staff = makes.officer(organisation, role=None)
            staff.team_id = team_id
            if role:
                where = {"inside": roles.Place(here.id), "outside": roles.Place(there.id)}.get(
                    place, roles.EVERYWHERE
                )
                makes.role(staff, role, where)
            token = sessions.begin(session, staff=staff, now=utc_now())
            people.append(Person(f"{role or 'nobody'} {place}", role, place, staff, token))
    return people
