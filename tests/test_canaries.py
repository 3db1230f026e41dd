"""Canaries: marked values go through the real site, commands and workers, and are found nowhere they must not be.

Real processes and their own logs, a Valkey that notes every command, the database column by column.
"""

from __future__ import annotations

import html
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode, urljoin, urlsplit

import psycopg
import pyotp
import pytest
import redis
import sqlalchemy as sa

from app.cli.stack import wait_until
from app.db import utc_now
from app.models.replies import Reply, ReplyMessage
from app.models.staff import Staff
from app.roles import libpq
from tests import looking
from tests.browser.town import POSTCODE, Town, town
from tests.conftest import Database

MAIL, PHONE = "kanarienvogel.gelb@people.example", "07700 900471"
NAME, OFFICER = "Kanaria Vogelsang", "PC Zeisig Wellensittich"
HOME = f"Flat 47b, {POSTCODE}"
SAID = f"I saw the yellow bird fly to {HOME}"
TEXTED = "A second yellow bird flew past the bakery"
ANSWERED = "Which way did the yellow bird go"
PASSWORD = "perch millet swing 4711"
EVENTS = frozenset({"raw_events"})  # what providers call with, addresses in it: 30 days


@dataclass
class Walker:
    """Somebody with a browser, by real HTTP: cookies, forms, and every address that was asked for or sent to."""

    site: str
    addresses: list[str] = field(default_factory=list)
    jar: CookieJar = field(default_factory=CookieJar)
    tokens: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        class Stay(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, *_: object) -> None:
                return None

        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), Stay(), urllib.request.HTTPCookieProcessor(self.jar)
        )

    def ask(self, path: str, data: Mapping[str, object] | None = None) -> tuple[int, str, str]:
        """Status, page, and where it sends us (a path)."""
        address = urljoin(self.site, path)
        self.addresses.append(address)
        body = None if data is None else urlencode(data, doseq=True).encode()
        try:
            with self._opener.open(urllib.request.Request(address, body), timeout=30) as answer:
                return answer.status, answer.read().decode(), ""
        except urllib.error.HTTPError as error:
            with error:
                where = error.headers.get("Location", "")
                self.addresses.append(where)
                return error.code, error.read().decode(), where

    def get(self, path: str) -> str:
        status, page, where = self.ask(path)
        assert status == 200, (status, urlsplit(path).path, where)
        return page

    def submit(
        self, path: str, data: Mapping[str, object], *, page: str | None = None, status: int = 303
    ) -> str:
        """Fill in the last form of a page and post it; where it leads, or the page itself."""
        found = re.findall(r"<form\b.*?</form>", self.get(page or path), re.DOTALL)
        mine = [one for one in found if f'action="{urlsplit(path).path}"' in one] or found
        hidden = re.findall(r'<input[^>]*type="hidden"[^>]*>', mine[-1])
        fields = {_attribute(tag, "name"): _attribute(tag, "value") for tag in hidden}
        got, answer, where = self.ask(path, fields | dict(data))
        assert got == status, (
            got,
            urlsplit(path).path,
            re.findall(r"error-message.*?</p>", answer, re.DOTALL),
        )
        return where or answer

    def leave_the_cookies(self) -> None:
        """Another browser of theirs; what the first one held is still looked for."""
        self.tokens.extend(cookie.value for cookie in self.jar if cookie.value)
        self.jar.clear()


def _attribute(tag: str, name: str) -> str:
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return html.unescape(found[1]) if found else ""


# -- where a canary may be found
def spellings(canaries: Mapping[str, str]) -> dict[str, str]:
    """Each value as it may be written: plain, in an address, a number as it is dialled."""
    found = {}
    for name, value in canaries.items():
        ways = {value, quote(value), quote_plus(value), html.escape(value)}
        if re.fullmatch(r"07[0-9 ]+", value):
            digits = value.replace(" ", "")
            ways |= {digits, f"+44{digits[1:]}", f"%2B44{digits[1:]}"}
        found |= {f"{name} {n}": way for n, way in enumerate(sorted(ways))}
    return found


@contextmanager
def overhearing(url: str) -> Iterator[list[str]]:
    """Every command that Valkey is sent, with its arguments."""
    heard: list[str] = []
    end = "the canaries end here"
    with redis.Redis.from_url(url, socket_timeout=None) as valkey, valkey.monitor() as monitor:

        def listen() -> None:
            for command in monitor.listen():
                if end in command["command"]:
                    return
                heard.append(command["command"])

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield heard
        finally:
            valkey.echo(end)
            thread.join(30)


def kept_in_valkey(url: str) -> list[str]:
    """Every key with what it holds."""
    read = {
        "string": lambda v, k: v.get(k), "hash": lambda v, k: v.hgetall(k), "list": lambda v, k: v.lrange(k, 0, -1),
        "set": lambda v, k: v.smembers(k), "zset": lambda v, k: v.zrange(k, 0, -1), "stream": lambda v, k: v.xrange(k),
    }  # fmt: skip
    with redis.Redis.from_url(url) as valkey:
        return [f"{key!r} {read[valkey.type(key).decode()](valkey, key)!r}" for key in valkey.scan_iter()]


@dataclass
class Places:
    """All that is looked into, but for the database."""

    logs: Path
    heads: Path
    addresses: list[str]
    heard: list[str]
    valkey: str
    pages: list[str]

    def texts(self) -> Iterator[tuple[str, str]]:
        for log in self.logs.glob("*.log"):
            if log.name != "sandbox.log":  # the provider's own
                yield f"log of {log.stem}", log.read_text(errors="replace")
        for path in self.heads.glob("*.jsonl"):
            yield path.name, path.read_text()
        yield "addresses", "\n".join(self.addresses)
        yield "commands to Valkey", "\n".join(self.heard)
        yield "keys in Valkey", "\n".join(kept_in_valkey(self.valkey))
        yield "error pages and metrics", "\n".join(self.pages)


def leaks(places: Places, database: Database, canaries: Mapping[str, str]) -> set[tuple[str, str]]:
    """(Where, what) of every canary that is found where it must not be."""
    needles = spellings(canaries)
    found = {
        (where, name.rpartition(" ")[0])
        for where, text in places.texts()
        for name, needle in needles.items()
        if needle.casefold() in text.casefold()
    }
    stored = looking.everywhere(database.admin, needles, opened=False)
    return found | {(table, name.rpartition(" ")[0]) for table, name in stored if table not in EVENTS}


# -- the story
def resident_signs_up(place: Town, walker: Walker) -> None:
    topics = ["incidents and appeals", "prevention"]
    page = "/subscribe/contact?" + urlencode({"postcode": POSTCODE, "topic": topics}, doseq=True)
    walker.submit(page, {"email": "no address " + MAIL, "mobile": PHONE, "name": NAME}, status=400)
    check = walker.submit(page, {"email": MAIL, "mobile": PHONE, "name": NAME})
    for to in (MAIL, PHONE):
        walker.submit(check, {"code": place.code(to)})


def officer_signs_in(place: Town, walker: Walker) -> tuple[str, str]:
    """The officer's address, and the secret of the second factor."""
    address, link = place.invitation(OFFICER)
    path = urlsplit(link).path
    walker.submit(path, {"step": "password", "password": PASSWORD})
    secret = _secret(place)
    walker.submit(path, {"step": "code", "code": pyotp.TOTP(secret).now()})
    walker.leave_the_cookies()
    walker.submit("/staff/sign-in", {"email": address, "password": PASSWORD + "x"}, status=400)
    walker.submit("/staff/sign-in", {"email": address, "password": PASSWORD})
    walker.submit("/staff/sign-in/code", {"code": pyotp.TOTP(secret).at(utc_now(), counter_offset=1)})
    return address, secret


def _secret(place: Town) -> str:
    with place.registry.sessions() as session:
        rows = session.scalars(sa.select(Staff).where(Staff.totp_secret.is_not(None)))
        (found,) = (row.totp_secret for row in rows if row.name == OFFICER)
    return found or ""


def resident_replies(place: Town, walker: Walker) -> None:
    place.appeal("Did you see this yellow thing?")
    link = place.arrived(MAIL, "/r/").link("/r/")
    walker.submit(urlsplit(link).path, {"body": SAID, "name": NAME}, status=200)
    with place.registry.sessions() as session:
        ours = session.execute(
            sa.text(
                "SELECT address FROM senders WHERE channel = 'sms' AND kind = 'two-way' ORDER BY id LIMIT 1"
            )
        ).scalar_one()
    place.arrived(PHONE, "Bicycles stolen")
    place.texts(PHONE, ours, TEXTED)

    def both() -> bool:
        with place.registry.sessions() as session:
            return {SAID, TEXTED} <= set(session.scalars(sa.select(ReplyMessage.body)))

    wait_until(both, what="the replies by link and by text")


def officer_answers(place: Town, walker: Walker) -> None:
    with place.registry.sessions() as session:
        thread = session.scalars(
            sa.select(Reply.id).join(ReplyMessage).where(ReplyMessage.channel == "web")
        ).first()
    assert SAID in walker.get(f"/staff/inbox/{thread}")
    walker.submit(f"/staff/inbox/{thread}/answer", {"body": ANSWERED}, page=f"/staff/inbox/{thread}")
    place.arrived(MAIL, ANSWERED)


def resident_looks(place: Town, walker: Walker) -> list[str]:
    """On their own page; with a table gone that page fails. The pages of errors."""
    check = walker.submit("/manage", {"address": MAIL})
    signed_up = place.messages(MAIL)[-1].code
    walker.submit(check, {"code": place.code(MAIL, besides=signed_up)})
    assert MAIL in walker.get("/my")
    pages = [walker.ask("/nowhere")[1], walker.ask("/my/topics", {"topic": NAME, "place": MAIL})[1]]
    with psycopg.connect(
        libpq(place.registry.engine.url.render_as_string(hide_password=False))
    ) as connection:
        name = connection.info.dbname
    admin = place.stack.environ["ADMIN_DATABASE_URL"]
    assert name in admin
    with psycopg.connect(libpq(admin), autocommit=True) as owner:
        owner.execute("ALTER TABLE subscriptions RENAME TO elsewhere")
        try:
            status, page, _ = walker.ask("/my")
        finally:
            owner.execute("ALTER TABLE elsewhere RENAME TO subscriptions")
    assert status == 500
    walker.leave_the_cookies()
    return [*pages, page]


def operator_commands(place: Town) -> None:
    for n, words in enumerate(
        (
            ["preferences", "show", MAIL],
            ["preferences", "set", PHONE, "--quiet", "22", "7"],
            ["retention", "report"],
        )
    ):
        child = place.stack.run(f"command-{n}", ["app.cli", *words])
        child.process.wait(60)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("style", ["text", "json"])
def test_no_canary_is_found_anywhere_it_must_not_be_and_a_leak_would_be(
    committed: Database, tmp_path: Path, style: str
) -> None:
    heads = tmp_path / "heads"
    with town(committed, tmp_path / "stack", LOG_FORMAT=style, HEADS_DIR=str(heads)) as place:
        valkey = place.stack.environ["REDIS_URL"]
        resident, officer = Walker(place.site), Walker(place.site)
        with overhearing(valkey) as heard:
            for kind in ("back", "sealer"):
                place.stack.worker(kind)
            resident_signs_up(place, resident)
            address, secret = officer_signs_in(place, officer)
            resident_replies(place, resident)
            officer_answers(place, officer)
            pages = resident_looks(place, resident)
            officer.leave_the_cookies()
            operator_commands(place)
            pages.append(Walker(place.site).get("/metrics"))
            wait_until(
                lambda: "purged" in (tmp_path / "stack/back.log").read_text() or _ran(place), what="the clock"
            )
        canaries = {
            "mail": MAIL, "phone": PHONE, "name": NAME, "officer": OFFICER, "officer's mail": address, "home": HOME,
            "reply": SAID, "text": TEXTED, "answer": ANSWERED, "password": PASSWORD, "secret": secret,
        }  # fmt: skip
        tokens = [*resident.tokens, *officer.tokens]
        assert len(tokens) == 3, "somebody was signed in"
        canaries |= {f"token {n}": one for n, one in enumerate(tokens)}
        places = Places(
            tmp_path / "stack", heads, resident.addresses + officer.addresses, heard, valkey, pages
        )
        assert any("enqueue" in one or "rq:" in one for one in heard), "jobs went by Valkey"
        assert len(list(places.texts())) >= 15
        assert leaks(places, committed, canaries) == set()
        deliberate(place, places, committed)
        assert {where for where, what in leaks(places, committed, {"mail": MAIL}) if what == "mail"} == {
            "log of web", "addresses", "commands to Valkey", "keys in Valkey", "error pages and metrics", "alerts",
            "heads.jsonl",
        }  # fmt: skip


def _ran(place: Town) -> bool:
    with place.registry.sessions() as session:
        return bool(
            session.execute(sa.text("SELECT count(*) FROM retention_runs WHERE ran_at IS NOT NULL")).scalar()
        )


def deliberate(place: Town, places: Places, database: Database) -> None:
    """A leak of each kind, as a careless change would make it."""
    with (places.logs / "web.log").open("a") as log:
        log.write(f"sent to={MAIL}\n")
    with (places.heads / "heads.jsonl").open("a") as file:
        file.write(f'{{"who":"{MAIL}"}}\n')
    places.addresses.append(f"{place.site}/my?{urlencode({'address': MAIL})}")
    places.heard.append(f"SET job {MAIL}")
    places.pages.append(f"<p>{MAIL} is not known")
    with redis.Redis.from_url(places.valkey) as valkey:
        valkey.rpush("rq:queue:leak", MAIL)
    with psycopg.connect(libpq(database.admin)) as admin:
        # Drafts may still be changed.
        admin.execute(
            "INSERT INTO alerts (id, reference, controller_id, kind, urgency, topic, headline, body, channels, audience, "
            "created_by) SELECT gen_random_uuid(), 'WL-LEAK', id, 'alert', 'routine', 'events', 'x', 'x', '{email}', '{}', "
            "%s FROM organisations LIMIT 1",
            (MAIL,),
        )
