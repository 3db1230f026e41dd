"""A town for the browser's tests: real processes, a sandbox as the providers, people, a team and its officers.

Everything that a journey reads it reads where a person would: on the pages, and in the sandbox's inbox.
"""

from __future__ import annotations

import html
import itertools
import re
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa

from app.audit import record as audit
from app.cli.demo import story
from app.cli.stack import SandboxHandle, Stack, free_port, wait_until
from app.db import utc_now
from app.models.areas import Area
from app.models.organisations import Organisation
from app.models.staff import Staff
from app.registry import Registry
from app.services import areas, dispatch, people, sessions, synthetic, teams
from messaging.types import Channel
from tests.browser.serving import environ
from tests.chaos.servers import private_valkey
from tests.conftest import Database
from tests.entering import enrol, invite
from tests.factories import Makes
from tests.populated import TEAM, Populated, populate

POSTCODE, WARD, ELSEWHERE, OTHER_WARD = "UB8 1UW", "Uxbridge", "E1 6AN", "Bishopsgate"
FILLED_POSTCODE = "HA4 6NS"
NEIGHBOURS = 40
ACTOR = audit.Actor(audit.ActorKind.OPERATOR, origin="test")
TOPICS = ("incidents and appeals", "prevention")
WORKERS = ("urgent", "bulk", "receipts", "scheduler")
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True)
class Message:
    """A message as the sandbox's inbox shows it. ``links`` in the order in which they stand."""

    to: str
    sender: str
    subject: str
    text: str

    @property
    def links(self) -> list[str]:
        return [link.rstrip(".,)") for link in re.findall(r"https?://[^\s<>\"']+", self.text)]

    def link(self, part: str) -> str:
        """The one link whose path begins with this part."""
        (found,) = {link for link in self.links if urllib.parse.urlsplit(link).path.startswith(part)}
        return found

    @property
    def code(self) -> str:
        """The six digits that a page asks for."""
        (found,) = set(CODE.findall(self.text))
        return found


# By its words: six digits in a row also stand in links, now and then.
CODE = re.compile(r"code is ([0-9]{6})\b")


@dataclass
class Town:
    """``site`` is its address. Everything made is numbered, so tests of one town keep out of each other's way."""

    site: str
    stack: Stack
    sandbox: SandboxHandle
    registry: Registry
    organisation: UUID
    team: UUID
    ward: str
    borough: str
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    fillings: Iterator[int] = field(default_factory=itertools.count)

    # -- people
    def email(self) -> str:
        """An address nobody had before."""
        return f"new{next(self.numbers)}@people.example"

    def phone(self) -> str:
        """A number for drama that nobody had before, as people type it."""
        return f"07700 900{300 + next(self.numbers):03d}"

    def invitation(self, name: str) -> tuple[str, str]:
        """Somebody is invited to the team: (their address, the link in their e-mail)."""
        address = f"officer{next(self.numbers)}@police.example"
        with self.registry.sessions.begin() as session:
            token = invite(session, slug=story.SLUG, team=TEAM, address=address, name=name, site=self.site)
        message = self.arrived(address, "/staff/invitation/")
        link = message.link("/staff/invitation/")
        assert link.endswith(token)
        return address, link

    def officer(self, name: str = "PC Sam Okafor") -> Staff:
        """Somebody of the team who has enrolled."""
        address = f"officer{next(self.numbers)}@police.example"
        with self.registry.sessions.begin() as session:
            return enrol(session, slug=story.SLUG, team=TEAM, address=address, name=name, site=self.site)

    def staff_cookie(self, officer: Staff, *, half: bool = False) -> dict[str, object]:
        """What the browser of somebody signed in holds; ``half``: the code is still to come."""
        with self.registry.sessions.begin() as session:
            return self._cookie(sessions.begin(session, staff=officer, half=half, now=utc_now()))

    def resident_cookie(self, contact_id: int) -> dict[str, object]:
        with self.registry.sessions.begin() as session:
            return self._cookie(sessions.begin(session, contact_id=contact_id, now=utc_now()))

    def _cookie(self, token: str) -> dict[str, object]:
        return {"name": "wardlink", "value": token, "url": self.site, "httpOnly": True, "sameSite": "Lax"}

    def resident(self, address: str) -> int:
        """Somebody who proved this address and lives in the ward; the contact's id."""
        channel = Channel.EMAIL if "@" in address else Channel.SMS
        with self.registry.sessions.begin() as session:
            makes = Makes(session)
            contact = makes.contact(address, channel)
            people.subscribe(
                session, contact, self.organisation, postcode=POSTCODE, topics=TOPICS, how="test", actor=ACTOR
            )
            return contact.id

    def appeal(self, headline: str) -> str:
        """An appeal to the ward leaves; its reference."""
        with self.registry.sessions.begin() as session:
            ward = session.scalars(sa.select(Area).where(Area.code == self.ward)).one()
            force = session.get_one(Organisation, self.organisation)
            alert = Makes(session).alert(
                force,
                [ward],
                kind="appeal",
                headline=headline,
                channels=["email", "sms"],
                team=self.team,
                how_to_tell="Call 101 and say CAD 1234.",
            )
            session.flush()
            dispatch.send(session, alert.id, token=f"town-{alert.id}", actor=ACTOR, public_url=self.site)
            return alert.reference

    def filled(self) -> Populated:
        """Another organisation with something behind every address, in a ward where nobody else works."""
        with self.registry.sessions.begin() as session:
            found = areas.find_ward(session, FILLED_POSTCODE)
            codes = (found.borough_code, found.code)
            borough, ward = (session.scalars(sa.select(Area).where(Area.code == c)).one() for c in codes)
            makes = Makes(session, itertools.count(1_000 + 23 * next(self.fillings)))
            return populate(makes, self.registry, (borough, ward, FILLED_POSTCODE), name="Transport Police")

    # -- what arrives
    def messages(self, to: str) -> list[Message]:
        """What the sandbox's inbox shows for a recipient, the newest first."""
        wanted = to if "@" in to else "+44" + to.replace(" ", "").lstrip("0")
        query = urllib.parse.urlencode({"to": wanted})
        with _DIRECT.open(f"{self.sandbox.url}/?{query}", timeout=10) as answer:
            page = answer.read().decode()
        return [_read(article) for article in re.findall(r"<article>(.*?)</article>", page, re.DOTALL)]

    def arrived(self, to: str, what: str = "", *, seconds: float = 30.0) -> Message:
        """Wait for a message that holds some words; the newest of them."""
        found: list[Message] = []

        def look() -> bool:
            found[:] = [one for one in self.messages(to) if what in one.text or what in one.subject]
            return bool(found)

        wait_until(look, seconds=seconds, what=f"a message to {to} with {what!r}")
        return found[0]

    def code(self, to: str, besides: str = "") -> str:
        """Wait for a code; ``besides``: an older one that is not meant."""
        found: list[str] = []

        def look() -> bool:
            codes = [CODE.findall(one.text) for one in self.messages(to)]
            found[:] = [code for some in codes for code in some if code != besides]
            return bool(found)

        wait_until(look, what=f"a code to {to}")
        return found[0]

    def texts(self, theirs: str, ours: str, body: str) -> None:
        """Somebody sends a text to one of our numbers."""
        self.sandbox.text("+44" + theirs.replace(" ", "").lstrip("0"), ours, body)


def _read(article: str) -> Message:
    def one(pattern: str) -> str:
        match = re.search(pattern, article, re.DOTALL)
        return html.unescape(re.sub(r"<[^>]+>", "", match[1])).strip() if match else ""

    to = one(r"<h2>(.*?)</h2>").partition(" to ")[2]
    sender = one(r"from (.*?) · ")
    return Message(to, sender, one(r"<strong>(.*?)</strong>"), one(r"<pre>(.*?)</pre>"))


@contextmanager
def town(database: Database, folder: Path, **settings: str) -> Iterator[Town]:
    """Everything up, with London loaded; down again at the end. ``settings``: more of the processes'."""
    port = free_port()
    site = f"http://127.0.0.1:{port}"
    # All come from one address here: what keeps strangers apart would stop the tests.
    changes = {"CODES_PER_NETWORK": "100000", "CODES_PER_HOUR": "100000", "CODES_PENCE_PER_DAY": "10000000"}
    stack = Stack(folder, environ(database, port, **changes, **settings))
    try:
        # A doorbell of its own: other tests ring on the shared one, and nobody here knows their databases.
        stack.environ["REDIS_URL"] = private_valkey(stack)
        sandbox = stack.sandbox(site, "--sender-rate", "50")
        registry = database.open(
            **changes, **sandbox.environ(), PUBLIC_URL=site, REDIS_URL=stack.environ["REDIS_URL"]
        )
        try:
            ward, borough, organisation, team = _settle(registry)
            stack.site(port)
            for kind in WORKERS:
                stack.worker(kind)
            yield Town(site, stack, sandbox, registry, organisation, team, ward, borough)
        finally:
            registry.engine.dispose()
    finally:
        stack.stop()


def _settle(registry: Registry) -> tuple[str, str, UUID, UUID]:
    """London, one force with its numbers, a team, and neighbours who want to hear."""
    with registry.sessions.begin() as session:
        areas.load_london(session, actor=audit.SYSTEM)
        found = areas.find_ward(session, POSTCODE)
        place = [(p, w, b) for p, w, b in synthetic.postcodes_of_london() if w == found.code]
        organisation = story.settle(session, list(synthetic.generate(place, NEIGHBOURS, seed=7)))
        team = teams.create(
            session,
            controller=organisation,
            name=TEAM,
            areas=[found.code],
            about="We patrol Uxbridge on foot and by bicycle, and hold a street meeting every month.",
            email="uxbridge@police.example",
            phone="101",
            url="https://police.example/uxbridge",
            actor=ACTOR,
        )
        teams.add_member(session, team.id, role="Sergeant", name="Alex Morgan", agreed=True, actor=ACTOR)
        teams.add_member(session, team.id, role="Police constable", actor=ACTOR)
        return found.code, found.borough_code, organisation, team.id
