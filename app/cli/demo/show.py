"""The demonstration itself: start everything, send three alerts, account for everybody."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rich.console import Console
from rich.live import Live

from app import migrate
from app.audit.verify import verify
from app.cli.demo import screen, story, walk
from app.cli.stack import PATIENCE, SandboxHandle, Stack, free_port, taken, wait_until
from app.db import utc_now
from app.errors import Conflict
from app.models.consent import Suppression
from app.models.ledger import Dispatch
from app.models.people import ContactPoint
from app.registry import Registry, open_registry
from app.services import alerts, areas, dispatch, invitations, reports
from app.services.ledger import check
from app.services.register import cells
from config.fields import Part
from config.settings import Settings
from messaging.sandbox import judge
from messaging.types import Channel

POSTCODE = "UB8 1UW"
SILENT_SECONDS = 30.0
LONGEST_SECONDS = 150.0


@dataclass(slots=True)
class Show:
    """One run. ``console`` takes everything it says."""

    console: Console
    registry: Registry
    stack: Stack
    place: story.Scene
    folder: Path
    site: str
    sandbox: SandboxHandle | None = None
    controller: UUID | None = None
    sent: dict[str, UUID] = field(default_factory=dict)
    expected: dict[str, set[int]] = field(default_factory=dict)

    # -- getting ready
    @classmethod
    def prepare(cls, console: Console) -> Show:
        """Servers, tables, London and the site's address; nothing is sent yet."""
        # Its workers hand whatever waits to the sandbox: they must never meet anybody's real alerts.
        if not Settings.load(os.environ).embedded:
            raise Conflict("The demo runs on servers of its own: unset the database URLs and REDIS_URL.")
        registry = open_registry(part=Part.APP)
        migrate.upgrade(registry.settings.owner_database_url)
        folder = registry.settings.local_dir / "demo"
        folder.mkdir(parents=True, exist_ok=True)
        port = registry.settings.web_port
        if taken(port):
            console.print(f"Port {port} is taken: the site takes another one.")
            port = free_port()
        site = f"http://127.0.0.1:{port}"
        with registry.sessions.begin() as session:
            areas.load_london(
                session, actor=story.ACTOR, progress=lambda what: console.print(f"  loading {what} …")
            )
        ground = open_registry(part=Part.WORKER, pool_size=1)  # the site may not write cells
        with ground.sessions.begin() as session:
            cells.build(session, actor=story.ACTOR)
        ground.engine.dispose()
        stack = Stack(folder, {"PUBLIC_URL": site, "LOG_LEVEL": "warning"})
        return cls(console, registry, stack, story.scene(), folder, site)

    def open_site(self) -> None:
        """The provider sandbox and the site."""
        rates = [
            f"--sender={n}={story.RATE:g}"
            for lane in ("bulk", "urgent")
            for n in story.sender_addresses(lane)
        ]
        wanted = self.registry.settings.sandbox_port
        port = 0 if wanted and taken(wanted) else wanted
        self.sandbox = self.stack.sandbox(self.site, *rates, port=port)
        self.stack.site(int(self.site.rpartition(":")[2]), workers=2)

    def open_workers(self) -> None:
        for kind in ("urgent", "bulk", "receipts", "back", "scheduler", "sealer"):
            self.stack.worker(kind)
        self.stack.worker("bulk", "bulk-2")

    # -- who has stopped
    @property
    def stopped_file(self) -> Path:
        return self.folder / "stopped.json"

    def stopped(self) -> set[str]:
        """The numbers that texted STOP in this or an earlier demonstration."""
        return set(json.loads(self.stopped_file.read_text())) if self.stopped_file.exists() else set()

    def text_stop(self, number: str, to: str) -> None:
        """Somebody texts STOP; returns when the site knows."""
        assert self.sandbox is not None
        self.stopped_file.write_text(json.dumps(sorted(self.stopped() | {number})))
        self.sandbox.text(number, to, "STOP")
        contact = next(p.contact_id for p in self.place.people if p.address == number)
        wait_until(lambda: self._is_stopped(contact), what="the STOP to be heard")

    def _is_stopped(self, contact_id: int) -> bool:
        with self.registry.sessions() as session:
            found = session.scalar(
                sa.select(Suppression.id)
                .join(ContactPoint, ContactPoint.digest == Suppression.digest)
                .where(ContactPoint.id == contact_id, Suppression.lifted_at.is_(None))
                .limit(1)
            )
            return found is not None

    # -- the story
    def settle(self) -> None:
        with self.registry.sessions.begin() as session:
            self.controller = story.settle(session, self.place.people)

    def send(self, name: str) -> None:
        """Draft and send one of the story's alerts, and note who should hear, without SQL."""
        assert self.controller is not None
        what = story.alerts(self.place)[name]
        with self.registry.sessions.begin() as session:
            alert = alerts.draft(session, controller=self.controller, actor=story.ACTOR, **what)
        self.expected[name] = self.place.should_hear(what["audience_expression"]["areas"], self.stopped())
        with self.registry.sessions.begin() as session:
            frozen = dispatch.send(
                session, alert.id, token=uuid.uuid4().hex, actor=story.ACTOR, public_url=self.site
            )
        self.sent[name] = frozen.id
        self.console.print(f"  sent: {name} ({alert.reference}), {frozen.recipients:,} recipients")

    def play(self) -> None:
        """An advice to all is going out; an urgent alert and an appeal overtake; somebody says STOP."""
        first = next(p for p in self.place.people if p.agreed and self._texts(p.address))
        self.text_stop(first.address, story.sender_addresses("bulk")[0])
        self.console.print("  somebody texted STOP before anything was sent")
        with Live(console=self.console, refresh_per_second=4, transient=True) as live:
            self.send("advice to all")
            self._watch(live, lambda rows: sum(r.accepted for r in rows) >= 200)
            self._stop_midway()
            self.send("alert to the ward")
            self.send("appeal to the borough")
            self._watch(live, self._settled)

    def _texts(self, address: str) -> bool:
        return address.startswith("+") and address not in self.stopped()

    def _stop_midway(self) -> None:
        """Whoever stands last in the advice's waiting texts says STOP now."""
        query = sa.text(
            "SELECT b.contact_ids[b.size], s.address FROM batches b JOIN senders s ON s.id = b.sender_id "
            "WHERE b.dispatch_id = :d AND b.channel = 'sms' AND b.state <> 'done' ORDER BY b.n DESC LIMIT 1"
        )
        with self.registry.sessions() as session:
            row = session.execute(query, {"d": self.sent["advice to all"]}).one_or_none()
        if row is None:
            self.console.print("  the texts were out before anybody could stop them")
            return
        number = next(p.address for p in self.place.people if p.contact_id == row[0])
        self.text_stop(number, row[1])
        self.console.print("  somebody texted STOP midway")

    def _watch(self, live: Live, enough: Callable[[list[reports.Progress]], bool]) -> None:
        """Show progress until it is enough, nothing has moved for 30 s, or the longest time is over."""
        names = {str(i): name for name, i in self.sent.items()}
        began = moved = time.monotonic()
        last: list[reports.Progress] = []
        while True:
            with self.registry.sessions() as session:
                rows = reports.progress(session, list(self.sent.values()))
            now = time.monotonic()
            if rows != last:
                last, moved = rows, now
            live.update(screen.progress_table(names, rows, f"{now - began:.0f} s"))
            if enough(rows) or now - moved > SILENT_SECONDS or now - began > LONGEST_SECONDS:
                return
            time.sleep(0.25)

    @staticmethod
    def _settled(rows: list[reports.Progress]) -> bool:
        return all(r.finished and r.silent == 0 for r in rows)

    # -- people who use the site
    @property
    def sign_in_file(self) -> Path:
        return self.folder / "officer.json"

    def walk(self) -> walk.SignIn:
        """A resident and an officer go through the site's pages; how the officer signs in.

        PageError or StackError where one of them sticks.
        """
        assert self.sandbox is not None
        assert self.controller is not None
        with self.registry.sessions.begin() as session:
            team = story.team(session, self.controller, self.place)
        officer = walk.Officer(self.site, self.sandbox, self.sign_in_file)
        resident = walk.Resident.new(self.site, self.sandbox)
        say = self.console.print
        resident.sign_up(POSTCODE, story.WARD_NAME)
        say("  a resident signed up by e-mail and by text")
        sign_in, browser = officer.enter(lambda email: self._invite(email, team))
        reference, _ = officer.send_appeal(browser, self.place.ward)
        say(f"  an officer wrote an appeal and sent it ({reference})")
        resident.reply()
        resident.text_back()
        officer.answer(browser)
        resident.mails.next(walk.ANSWER)
        say("  the resident replied by link and by text, the officer answered, and the answer arrived")
        resident.leave()
        officer.sign_out(browser)
        say("  the resident left, with both addresses; the officer signed out")
        return sign_in

    def _invite(self, email: str, team: str) -> None:
        with self.registry.sessions.begin() as session:
            invitations.invite(
                session,
                organisation=story.SLUG,
                email=email,
                name="Robin Demo",
                team=team,
                public_url=self.site,
                fictional=True,
                actor=story.ACTOR,
                now=utc_now(),
            )

    def seal(self) -> bool:
        """Chain what is left of the record and check it against its signed heads; True when it is whole."""
        settings = self.registry.settings
        sealing = self.stack.run("seal", ["workers.sealer", "--drain"])
        if sealing.process.wait(PATIENCE) != 0 or settings.heads_dir is None:
            self.console.print(f"[bold red]The record was not sealed:[/] {sealing.last_words()}")
            return False
        key = Ed25519PublicKey.from_public_bytes(settings.seal_public_key)
        with self.registry.sessions() as session:
            report = verify(session, settings.heads_dir, key)
        for line in report.lines():
            self.console.print(line)
        return report.ok

    # -- the account
    def account(self) -> list[screen.Line]:
        """The table: our ledger, the sandbox's log and the plain-Python pass, held against each other."""
        lines = []
        for name, dispatch_id in self.sent.items():
            with self.registry.sessions() as session:
                sent = session.get_one(Dispatch, dispatch_id)
                seconds = ((sent.finished_at or sent.frozen_at) - sent.frozen_at).total_seconds()
                balances = check.balance(session, dispatch_id)
                rows = session.execute(
                    sa.text(
                        "SELECT u.contact_id, coalesce(d.status, 0) FROM batches b "
                        "CROSS JOIN LATERAL unnest(b.contact_ids) AS u(contact_id) LEFT JOIN deliveries d "
                        "ON d.dispatch_id = b.dispatch_id AND d.contact_id = u.contact_id WHERE b.dispatch_id = :d"
                    ),
                    {"d": dispatch_id},
                )
                status = {row[0]: row[1] for row in rows}
            lines += [self._line(name, balance, status, seconds) for balance in balances]
        return lines

    def _line(self, name: str, balance: check.Balance, status: dict[int, int], seconds: float) -> screen.Line:
        assert self.sandbox is not None
        tally = judge.tally(self.sandbox.log, balance.dispatch.hex).channels[balance.channel]
        people = {p.contact_id: p for p in self.place.people if str(p.channel) == balance.channel}
        problems = list(balance.problems)
        frozen = {c for c in status if c in people}
        if frozen != {c for c in self.expected[name] if c in people}:
            problems.append(f"{name}, {balance.channel}: the audience is not the one that plain Python finds")
        logged = set(tally.addresses)
        certain = {people[c].address for c in frozen if status[c] >= 30}
        possible = certain | {people[c].address for c in frozen if status[c] == 10}
        if not certain <= logged <= possible:
            problems.append(
                f"{name}, {balance.channel}: the sandbox's log disagrees about {len(certain ^ logged)}"
            )
        twice = max(len(tally.twice_addresses), len(tally.twice_places))
        return screen.Line(name, balance, len(logged), twice, seconds, tuple(problems))


def verdict(console: Console, lines: list[screen.Line]) -> bool:
    """Say what the table means; True when everybody is accounted for and all three agree."""
    console.print(screen.final_table(lines))
    for line in lines:
        for problem in line.problems:
            console.print(f"[bold red]{problem}[/]")
    total = sum(line.balance.recipients for line in lines)
    channels = ", ".join(sorted({str(Channel(line.balance.channel)) for line in lines}))
    if lines and all(line.good for line in lines):
        console.print(
            f"[bold green]{total:,} recipients ({channels}): nobody unaccounted for, nobody twice; "
            "the sandbox's own log and a plain count of the people agree.[/]"
        )
        return True
    console.print("[bold red]The account does not balance: see the lines in red.[/]")
    return False
