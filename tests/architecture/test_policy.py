"""Every page for staff and every command, with every role, inside and outside its area and organisation: what happens
is what the table of permissions says, and no page shows a way to what the table denies.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import click
import pytest
from werkzeug.routing import Rule

from app.cli.main import main, serve_known
from app.models.staff import Staff
from app.permissions import COMMANDS, INVESTIGATE, TABLE, Permission, Role, Scope
from app.web.guards import permission_of
from tests.architecture.test_hostile_posts import stage
from tests.architecture.world import ENDS, Person, World, people_of
from tests.conftest import Database
from tests.factories import Makes

DENIED = frozenset({403, 404})


# What is one person's own: nobody else of the walk may have it, whatever their role.
OWN = frozenset({"search_id", "passkey_id"})
# Of a case: for whoever searched for it, whom the walk knows as its own, and for supervisors.
CASES = frozenset({"case_id", "request_id"})
# Only for whoever came by their organisation's identity provider, which nobody of the walk did.
ARRIVED = frozenset({"oidc.again"})
# Here the place is chosen on the form, which offers only what lies in reach: whoever it is about may be anywhere.
CHOSEN = frozenset({"roles.grant"})


def has_thing(rule: Rule) -> bool:
    """Whether an address names a row of somebody's."""
    return any(
        type(rule._converters[name]).__name__ in {"UUIDConverter", "IntegerConverter"}
        for name in rule.arguments
    )


def allowed(permission: Permission, role: Role | None, place: str, *, thing: bool) -> bool:
    """The table, read once more by other code than the gate's."""
    rule = TABLE[permission]
    if rule.scope is Scope.OWN:
        return True
    if role is None or role not in rule.roles:
        return False
    if not thing or place in {"inside", "everywhere"}:
        return True
    return place == "outside" and rule.scope in {Scope.ORGANISATION, Scope.SERVICE}


@pytest.fixture(scope="module")
def world(database: Database) -> Iterator[World]:
    with stage(database) as made:
        with made.site.registry.sessions.begin() as session:
            people = people_of(Makes(session, itertools.count(10_000)), made)
        yield World(made, people)


def test_every_view_for_staff_names_a_permission_of_the_table_and_a_path_to_try(world: World) -> None:
    for rule in world.rules:
        assert permission_of(world.app, rule.endpoint) in TABLE, rule.endpoint
        for method in sorted((rule.methods or set()) & {"GET", "POST"}):
            assert world.paths(rule, method), (rule.endpoint, method)
    assert len(world.rules) > 20


# Who walks in `make test`: enough to see at once that something is wrong. All of them walk in `make test-slow`.
SOME = {
    "officer inside",
    "approver outside",
    "auditor inside",
    "force-administrator elsewhere",
    "nobody inside",
}


def some(world: World) -> list[Person]:
    found = [person for person in world.people if person.name in SOME]
    assert len(found) == len(SOME)
    return found


def walk(world: World, people: list[Person]) -> dict[bool, int]:
    """Ask for everything as each of them; how often the table said yes, and no."""
    tried = {True: 0, False: 0}
    for person in people:
        for rule in world.rules:
            permission = permission_of(world.app, rule.endpoint)
            assert permission is not None
            if rule.endpoint in ENDS:
                continue
            expected = allowed(permission, person.role, person.place, thing=has_thing(rule))
            if rule.endpoint in CHOSEN and person.place == "outside":
                expected = allowed(permission, person.role, person.place, thing=False)
            if CASES & rule.arguments:
                expected = expected and person.role is Role.SUPERVISOR
            expected = expected and not OWN & rule.arguments and rule.endpoint not in ARRIVED
            for method in sorted((rule.methods or set()) & {"GET", "POST"}):
                for path in world.paths(rule, method):
                    answer = world.ask(person, method, path, world.form(rule.endpoint))
                    assert answer.status_code < 500, (person.name, method, path)
                    assert (answer.status_code not in DENIED) is expected, (
                        person.name, method, path, answer.status_code,
                    )  # fmt: skip
                    tried[expected] += 1
    return tried


def test_some_roles_get_what_the_table_says(world: World) -> None:
    assert min(walk(world, some(world)).values()) > 100


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_every_route_answers_every_role_in_every_place_as_the_table_says(world: World) -> None:
    assert min(walk(world, world.people).values()) > 500


def test_who_has_left_gets_nothing(world: World) -> None:
    person = next(p for p in world.people if p.role is Role.FORCE_ADMINISTRATOR and p.place == "everywhere")
    with world.stage.taken_back():
        with world.stage.site.registry.sessions.begin() as session:
            session.get_one(Staff, person.staff.id).state = "left"
        for rule in world.rules:
            for method in sorted((rule.methods or set()) & {"GET", "POST"}):
                for path in world.paths(rule, method):
                    answer = world.ask(person, method, path, {})
                    assert answer.status_code in {302, 303, 400, 403}, (method, path, answer.status_code)
                    assert answer.headers.get("Location", "/staff/sign-in") == "/staff/sign-in"


def follow(world: World, people: list[Person]) -> int:
    """Follow every link and form of every page that each of them may see; how many there were."""
    followed = 0
    for person in people:
        for rule in world.rules:
            if "GET" not in (rule.methods or set()):
                continue
            for path in world.paths(rule, "GET"):
                page = world.ask(person, "GET", path)
                if page.status_code != 200:
                    continue
                for method, target, endpoint in world.ways(page.text, path):
                    key = (method, target)
                    if key not in person.seen:
                        form = world.form(endpoint) if method == "POST" else None
                        person.seen[key] = world.ask(person, method, target, form).status_code
                    assert person.seen[key] not in DENIED, (person.name, path, method, target)
                    followed += 1
    return followed


def test_some_roles_are_shown_no_way_to_what_the_table_denies(world: World) -> None:
    assert follow(world, some(world)) > 100


@pytest.mark.slow
@pytest.mark.timeout(1_200)
def test_no_page_shows_a_way_to_what_the_table_denies(world: World) -> None:
    assert follow(world, world.people) > 500


def test_every_command_is_in_the_table_and_one_that_is_not_is_not_served() -> None:
    def leaves(group: click.Group, *before: str) -> Iterator[str]:
        with click.Context(group) as context:
            for name in group.list_commands(context):
                command = group.get_command(context, name)
                if isinstance(command, click.Group):
                    yield from leaves(command, *before, name)
                elif command is not None:
                    yield " ".join((*before, name))

    assert set(leaves(main)) == set(COMMANDS)
    assert set(COMMANDS.values()) <= set(TABLE)

    @click.group()
    def root() -> None: ...

    @root.group()
    def inner() -> None: ...

    for name in ("known", "new"):
        inner.add_command(click.Command(name))
    serve_known(root, {"inner known"})
    assert list(leaves(root)) == ["inner known"]


def test_commands_are_the_operators_and_act_for_nobody_of_staff() -> None:
    """No command takes somebody of staff to act as; and what only it can do, no role of staff has."""
    assert not TABLE[Permission.SERVICE_OPERATE].roles

    def options(group: click.Group) -> Iterator[click.Parameter]:
        for command in group.commands.values():
            if isinstance(command, click.Group):
                yield from options(command)
            yield from command.params

    assert not [one for one in options(main) if {"--as", "--actor"} & set(one.opts)]


def test_only_investigators_need_a_competent_authority() -> None:
    assert {Role.INVESTIGATOR, Role.SUPERVISOR} == INVESTIGATE
