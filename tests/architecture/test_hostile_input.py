"""Every command and every address, each with a hundred hostile examples and more (acceptance line 9).

Nothing breaks: a message in plain English or a 4xx, never a 500, a traceback or a half-written
row. A command or a route that this walk does not visit fails it.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import click
import psycopg
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.routing import Rule

from app.cli.main import main
from app.roles import libpq
from tests.app.cli.conftest import environ_of
from tests.app.web.conftest import FORM, open_site
from tests.architecture import hostile
from tests.conftest import Database
from tests.factories import Makes

MANY, FEW = 100, 10  # examples for each address and command; the many are for the slow tests
_TABLES = "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace ORDER BY 1"


@dataclass
class Ground:
    """A database with an organisation, a draft and a resident, and a way to count all its rows."""

    database: Database
    organisation: str = ""
    reference: str = ""
    ward: str = ""
    connection: psycopg.Connection = field(init=False)
    count: Callable[[], dict[str, int]] = field(init=False)

    def __post_init__(self) -> None:
        opened = self.database.open()
        with opened.sessions.begin() as session:
            makes = Makes(session)
            police = makes.organisation()
            makes.sender(police)
            borough, ward, _ = makes.borough()
            makes.resident(police, ward)
            alert = makes.alert(police, [borough])
            self.organisation, self.reference, self.ward = police.slug, alert.reference, ward.code
        opened.engine.dispose()
        self.connection = psycopg.connect(libpq(self.database.admin), autocommit=True)
        names = [row[0] for row in self.connection.execute(_TABLES)]
        each = " UNION ALL ".join(f"SELECT '{name}', count(*) FROM {name}" for name in names)
        self.count = lambda: dict(self.connection.execute(each).fetchall())


@pytest.fixture
def ground(committed: Database) -> Iterator[Ground]:
    made = Ground(committed)
    yield made
    made.connection.close()


# The site ----------------------------------------------------------------------------------
TOKEN = st.one_of(
    hostile.escaped(),
    st.from_regex(r"[0-9]{1,3}\.[0-7][0-9a-f]{47}(\.[0-9a-f]{10})?\.[0-9a-f]{32}", fullmatch=True),
)
# What stands in for the variables of a route, by their names; for all others an id, or none.
ANY = st.one_of(hostile.escaped(), st.uuids().map(str), st.integers(0, 2**63).map(str))
VARIABLES: dict[str, st.SearchStrategy[str]] = {
    "code": st.one_of(hostile.escaped(), st.from_regex("E0[59][0-9]{6}", fullmatch=True)),
    "reference": st.one_of(hostile.escaped(), st.from_regex("WL-[2-9B-Z]{7}", fullmatch=True)),
    "token": TOKEN,
    "filename": hostile.escaped(),
    "slug": hostile.escaped(),
}
# Names that pages read from a query.
ASKED = st.sampled_from(
    [
        "postcode",
        "reference",
        "before",
        "after",
        "state",
        "topic",
        "organisation",
        "place",
        "draft",
        "ref",
        "finish",
    ]
)
QUERY = st.one_of(hostile.escaped(), st.tuples(ASKED, hostile.escaped()).map("=".join), st.just(""))
METHODS = st.sampled_from(
    ["GET", "GET", "POST", "POST", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]
)
TYPES = st.sampled_from([FORM, "application/json", "multipart/form-data; boundary=x", "text/plain", "é", ""])


def walk_site(ground: Ground, examples: int) -> None:
    site = open_site(ground.database)
    before = ground.count()
    visited: Counter[str] = Counter()

    def walk(rule: Rule) -> None:
        route = rule.rule
        parts = re.split(r"<[^>]*?([a-z_]+)>", route)
        variables = st.tuples(*(VARIABLES.get(name, ANY) for name in parts[1::2]))

        @hostile.quiet(examples)
        @given(variables, QUERY, METHODS, hostile.headers(), hostile.bodies(), TYPES)
        def strike(
            values: tuple[str, ...], asked: str, method: str, head: dict[str, str], body: bytes, kind: str
        ) -> None:
            path = "".join(
                itertools.chain.from_iterable(itertools.zip_longest(parts[::2], values, fillvalue=""))
            )
            sent = {} if method in {"GET", "HEAD"} else {"data": body, "content_type": kind}
            answer = site.client.open(path, query_string=asked, method=method, headers=head, **sent)
            with answer:
                assert answer.status_code < 500, (answer.status_code, route)
                assert "Traceback" not in answer.text
                assert "<script>alert" not in answer.text
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
            visited[route] += 1

        strike()
        # Once for a hundred: what was invalid has left no trace, but for the note that a call was turned away.
        after = ground.count()
        if route.startswith("/hooks/"):
            before["webhook_refusals"] = after["webhook_refusals"]
        assert after == before, route

    try:
        rules = list(site.client.application.url_map.iter_rules())
        for rule in rules:
            walk(rule)
        assert set(visited) == {rule.rule for rule in rules}
        assert min(visited.values()) >= examples
    finally:
        site.registry.engine.dispose()


def test_every_address_of_the_site_stands_hostile_requests(ground: Ground) -> None:
    walk_site(ground, FEW)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_every_address_of_the_site_stands_a_hundred_hostile_requests(ground: Ground) -> None:
    walk_site(ground, MANY)


def test_signed_but_hostile_calls_are_kept_once_or_refused(ground: Ground) -> None:
    """A provider passes on what people write: that is hostile too, and it is signed."""
    site = open_site(ground.database)
    fields = st.dictionaries(hostile.text(), hostile.text(), max_size=5).filter(
        lambda form: not any("\ud800" <= c <= "\udfff" for pair in form.items() for c in "".join(pair))
    )

    @hostile.quiet(MANY)
    @given(fields, hostile.bodies(), hostile.escaped())
    def strike(form: dict[str, str], body: bytes, ref: str) -> None:
        for call in (
            lambda: site.twilio(f"/hooks/twilio/status?ref={ref}", form),
            lambda: site.twilio("/hooks/twilio/inbound", form),
            lambda: site.sendgrid(body),
        ):
            before = ground.count()
            status = call().status_code
            after = ground.count()
            assert status < 500
            before["raw_events"] += status < 300
            if status >= 400:  # that it was turned away is remembered
                before["webhook_refusals"] = after["webhook_refusals"]
            assert after == before

    try:
        strike()
    finally:
        site.registry.engine.dispose()


# The commands --------------------------------------------------------------------------------
# These start servers, end them, change the cluster or write files: words that no option can take end their line,
# so whatever stands before is refused by the parser.
REFUSED = ["surplus", "surplus", "surplus", "surplus"]
ENDINGS: dict[str, list[str]] = {
    **dict.fromkeys(
        (
            "demo", "sandbox", "services stop", "services status", "db roles", "db upgrade", "db check",
            "london load", "london disagreements", "settings", "alarms test", "audit export", "audit heads export",
        ),
        REFUSED,
    ),
    "audit verify": ["--wait", "0"],
}  # fmt: skip
# What may grow when the words happen to be good.
GROWS = {
    "audit verify": {"audit_entries", "audit_pending"},
    "alert draft": {"alerts", "audit_entries", "audit_pending"},
    "alert send": {
        "alert_areas",
        "dispatches",
        "dispatch_contents",
        "batches",
        "reservations",
        "spend_counters",
        "audit_entries",
        "audit_pending",
    },
    "dispatch pause": {"audit_entries", "audit_pending"},
    "dispatch resume": {"audit_entries", "audit_pending"},
    "dispatch stop": {"audit_entries", "audit_pending"},
    "organisation standards": {"audit_entries", "audit_pending"},
    "organisation limits": {"organisation_limits", "audit_entries", "audit_pending"},
    "alert stop": {"audit_entries", "audit_pending"},
    "team add": {"teams", "team_areas", "audit_entries", "audit_pending"},
    "team alter": {"team_areas", "audit_entries", "audit_pending"},
    "team member": {"team_members", "audit_entries", "audit_pending"},
    "team end": {"team_members", "audit_entries", "audit_pending"},
    **{
        f"areas plan {verb}": {"area_plans", "audit_entries", "audit_pending"}
        for verb in ("rename", "recode", "merge", "move")
    },
    "staff invite": {"staff", "staff_invitations", "service_messages", "audit_entries", "audit_pending"},
    "staff leave": {"audit_entries", "audit_pending"},
    "register cells": {"register_cells", "audit_entries", "audit_pending"},
    "ledger partitions": None,  # makes tables, which are not rows
}


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    """The whole tree: every group and every command, with its words."""
    yield path, group
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        words = f"{path} {name}".strip()
        if isinstance(command, click.Group):
            yield from commands(command, words)
        else:
            yield words, command


def words_for(command: click.Command, ground: Ground) -> st.SearchStrategy[list[str]]:
    """Lines of words: the command's own options with hostile values, and words that are none of them."""
    good = st.sampled_from(
        [ground.organisation, ground.reference, ground.ward, "a good token", "alert", "email"]
    )
    value = st.one_of(hostile.text(), good)
    options = [name for p in command.params if isinstance(p, click.Option) for name in p.opts]
    required = [p for p in command.params if p.required]
    pieces: list[st.SearchStrategy[list[str]]] = [value.map(lambda v: [v])]
    if options:
        pieces.append(st.tuples(st.sampled_from(options), value).map(list))
        pieces.append(st.tuples(st.sampled_from(options), value).map("=".join).map(lambda v: [v]))
    anything = st.lists(st.one_of(pieces), max_size=4).map(lambda parts: [w for part in parts for w in part])
    # Lines that are whole, so that the hostile values come past the parser.
    complete = st.tuples(
        *(value.map(lambda v, p=p: [p.opts[0], v] if isinstance(p, click.Option) else [v]) for p in required)
    ).map(lambda parts: [w for part in parts for w in part])
    return st.one_of(anything, complete, st.tuples(complete, anything).map(lambda two: [*two[0], *two[1]]))


def walk_commands(ground: Ground, examples: int) -> None:
    environ = environ_of(ground.database)
    tree = dict(commands(main))
    visited: Counter[str] = Counter()
    runner = CliRunner()

    def walk(path: str, command: click.Command) -> None:
        ending = ENDINGS.get(path, [])
        before = ground.count()

        @hostile.quiet(examples)
        @given(words_for(command, ground))
        def strike(words: list[str]) -> None:
            nonlocal before
            if isinstance(command, click.Group):  # a group's own words: none of them leads to a command
                words = [
                    *(word for word in words if word not in command.commands and word != "demo"),
                    "no-such",
                ]
            result = runner.invoke(main, [*path.split(), *words, *ending], env=environ)
            visited[path] += 1
            assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
            assert result.exit_code in {0, 1, 2}
            assert result.output.strip()
            assert "Traceback" not in result.output
            if ending is REFUSED:
                assert result.exit_code == 2 or "Usage: " in result.output
            # A check is on the record whatever it found.
            if result.exit_code <= (path == "audit verify") and path in GROWS:
                grown = {name for name, rows in ground.count().items() if rows != before.get(name)}
                assert GROWS[path] is None or grown <= GROWS[path]
                before = ground.count()

        strike()
        assert ground.count() == before, path

    for path, command in tree.items():
        walk(path, command)
    assert set(visited) == set(tree)
    assert min(visited.values()) >= examples


def test_every_command_stands_hostile_lines(ground: Ground) -> None:
    walk_commands(ground, FEW)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_every_command_stands_a_hundred_hostile_lines(ground: Ground) -> None:
    walk_commands(ground, MANY)
