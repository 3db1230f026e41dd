"""Thousands of requests that nobody would make by mistake, at every address, by everybody and by nobody.

Whatever is asked: nothing breaks, nobody reads what another organisation or another team keeps, and nothing that was
sent comes back as HTML. ``FUZZ`` says how many (2,000 in ``make test-all``, 50,000 in ``make nightly``), in parts: each
takes its work back by savepoints of one transaction, and the rows of those that ended make what follows slower.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from werkzeug.test import TestResponse

from app.db import utc_now
from app.models.alerts import Alert
from app.models.replies import Reply
from app.models.staff import Staff
from app.permissions import Role
from app.services import sessions
from tests.architecture import hostile
from tests.architecture.payloads import bodies
from tests.architecture.test_hostile_posts import Stage, heads, stage
from tests.architecture.world import Person, World, people_of
from tests.conftest import Database
from tests.factories import Makes
from tests.populated import Populated, populate

PART = 2_000
PARTS = max(1, -(-int(os.environ.get("FUZZ", PART)) // PART))
# What another organisation keeps, what one team of this one keeps, and what is sent to see whether it comes back.
THEIRS, TEAMS, MARK = "kestrel-9f3a", "merlin-77c1", "<wl-mark onload=x>"
MUCH = frozenset({Role.OFFICER, Role.FORCE_ADMINISTRATOR, Role.AUDITOR})
METHODS = st.sampled_from(
    ["GET"] * 12 + ["POST"] * 6 + ["HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]
)


def _others(made: Stage, makes: Makes) -> Populated:
    """Another organisation with everything, in a borough of its own; what is private there is marked."""
    borough, ward, _ = makes.borough()
    postcode = makes.postcode(ward, "UB9 1UW")
    theirs = populate(makes, made.site.registry, (borough, ward, postcode), name="Other Police")
    session = makes.session
    for alert in session.scalars(sa.select(Alert).where(Alert.controller_id == theirs.organisation_id)):
        if alert.state == "draft":
            alert.headline, alert.body = f"{THEIRS} draft", f"{THEIRS} words"
    for staff in session.scalars(sa.select(Staff).where(Staff.organisation_id == theirs.organisation_id)):
        if staff.state == "active":  # an invitation's own page greets whoever holds its link
            staff.name = f"{THEIRS} officer"
    for reply in session.scalars(sa.select(Reply).where(Reply.controller_id == theirs.organisation_id)):
        reply.name = f"{THEIRS} resident"
    for reply in session.scalars(sa.select(Reply).where(Reply.controller_id == made.filled.organisation_id)):
        reply.name = f"{TEAMS} resident"
    session.flush()
    return theirs


def _may_read_replies(person: Person) -> bool:
    return person.role in {Role.OFFICER, Role.APPROVER} and person.place in {"inside", "everywhere"}


def _marks_stand(world: World, theirs: Populated) -> None:
    """Whoever may read what is marked does read the marks: their absence elsewhere means something."""
    inside = next(one for one in world.people if one.role is Role.OFFICER and one.place == "inside")
    assert TEAMS in world.ask(inside, "GET", "/staff/inbox").text
    with world.stage.site.registry.sessions.begin() as session:
        chief = session.get_one(Staff, theirs.chief_id)
        token = sessions.begin(session, staff=chief, now=utc_now())
    assert THEIRS in world.ask(replace(inside, token=token), "GET", "/staff").text


def look(answer: TestResponse, who: Person | None, about: tuple[object, ...]) -> None:
    """What must hold of any answer to anybody."""
    assert answer.status_code < 500, about
    text = answer.get_data().decode("utf-8", "replace")
    assert "Traceback (most recent call last)" not in text, about
    if not answer.mimetype.endswith("json"):
        assert MARK not in text and "<wl-mark" not in text, about
    where = f"{text} {answer.headers}"
    if who is None or who.place != "elsewhere":
        assert THEIRS not in where, about
    if who is None or not _may_read_replies(who):
        assert TEAMS not in where, about
    assert answer.headers["X-Content-Type-Options"] == "nosniff", about


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_breaks_leaks_or_echoes_whatever_is_asked_by_whomever(database: Database, part: int) -> None:
    with stage(database) as made:
        with made.site.registry.sessions.begin() as session:
            makes = Makes(session, itertools.count(10_000))
            people = people_of(makes, made)
            theirs = _others(made, makes)
        _marks_stand(World(made, people), theirs)
        # Elsewhere is yet another organisation: nobody of the walk belongs to the marked one.
        people = [replace(one, place="other" if one.place == "elsewhere" else one.place) for one in people]
        world = World(made, people)
        rules = {rule.endpoint: rule for rule in made.client.application.url_map.iter_rules()}
        addresses = sorted(
            {
                path
                for filled in (made.filled, theirs)
                for paths in (*filled.paths.values(), *filled.taking.values())
                for path in paths
            }
        )
        shown = made.shown
        tally: Counter[str] = Counter()
        tokens = {one.name: world.token(one) for one in people}

        paths = st.one_of(
            *[st.sampled_from(addresses)] * 8,
            st.tuples(st.sampled_from(addresses), hostile.escaped()).map(
                lambda two: f"{two[0].partition('?')[0]}?{two[1]}=%3Cwl-mark%20onload%3Dx%3E&q={two[1]}"
            ),
            st.tuples(st.sampled_from(addresses), hostile.escaped()).map(
                lambda two: f"{two[0].rpartition('/')[0]}/{two[1]}"
            ),
            st.tuples(st.sampled_from(sorted(r.rule for r in rules.values())), hostile.escaped()).map(
                lambda two: f"{two[0].partition('<')[0]}{two[1]}%3Cwl-mark%20onload%3Dx%3E"
            ),
        )
        # Those who may do much come more often: what nobody is let into breaks nothing.
        able = [one for one in people if one.role in MUCH and one.place in {"inside", "everywhere"}]
        visitors = st.sampled_from([None, "resident", *people, *able * 8])

        @seed(part)  # another run asks the same, and another part something else
        @settings(
            max_examples=PART,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.generate],
        )
        @given(visitors, METHODS, paths, st.sampled_from(sorted(shown)), st.booleans(), heads(), st.data())
        def ask(
            who: Person | str | None, method: str, path: str, form: str, signed: bool, head: dict[str, str],
            data: st.DataObject,
        ) -> None:  # fmt: skip
            person = who if isinstance(who, Person) else None
            if person is not None:
                head = {**head, **world.head(person)}
            elif who == "resident":
                head = {**head, **made.head("manage.page")}
            body, content = b"", ""
            if method in {"POST", "PUT", "PATCH"}:
                token = None
                if signed:
                    token = tokens[person.name] if person else made.token("manage.page") if who else None
                fields = {name: [*values, MARK] for name, values in shown[form].items()}
                body, content = data.draw(bodies(fields, token))
            with made.taken_back():
                answer = made.client.open(path, method=method, data=body, content_type=content, headers=head)
                with answer:
                    look(answer, person, (person and person.name, method, path, form))
            tally[f"{answer.status_code // 100}xx"] += 1

        ask()
        # It came past the doors often enough to mean something.
        assert tally["2xx"] > PART // 20 and tally["4xx"] > PART // 10, tally


def test_it_would_be_seen_if_something_leaked_or_came_back(database: Database) -> None:
    """The look itself can fail: each of what it forbids is shown to it."""
    with stage(database) as made:
        app = made.client.application

        def answers(text: str, status: int = 200, mimetype: str = "text/html") -> TestResponse:
            with app.test_request_context("/"):
                response = app.process_response(app.response_class(text, status, mimetype=mimetype))
            return TestResponse(
                response.response, response.status, response.headers, app.test_request_context("/").request
            )

        look(answers("fine"), None, ())
        look(answers(MARK, mimetype="application/json"), None, ())
        for text, status in (("x", 500), (MARK, 200), (f"a {THEIRS} b", 200), (f"a {TEAMS} b", 200)):
            with pytest.raises(AssertionError):
                look(answers(text, status), None, ())
