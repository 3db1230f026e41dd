"""``python -m bench.latency``: an urgent alert to 500 people while a newsletter to a million and 5,000 texts run.

Each round sends the newsletter and the texts anew, waits until both are under way, sends the urgent alert, and then
stops the texts. What left when is told by the sandbox's own log and by its queues, at 10 segments a second and sender.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from app.cli.stack import SandboxHandle, Stack, StackError, wait_until
from app.models.areas import Area
from app.registry import Registry, open_registry
from app.services import alerts, dispatch, organisations, synthetic
from bench import ground, start
from bench.fanout import say
from config.fields import Part
from messaging.sandbox import judge
from messaging.types import Channel

RATE = 10.0  # segments a second and sender
URGENT_MAIL, URGENT_TEXTS, BULK_TEXTS = 450, 50, 5_000
BULK_NUMBER, URGENT_NUMBER = "+447700901050", "+447700901051"
QUIET_BOROUGH, TEXTED_BOROUGH = "E09000098", "E09000097"
PATIENCE = 120.0


@dataclass(frozen=True, slots=True)
class Alerts:
    """What is sent in every round."""

    newsletter: UUID
    texts: UUID
    urgent: UUID


@dataclass(slots=True)
class Round:
    """Seconds from the call that sends, and segments at the provider after the call that stops."""

    first_out: float
    last_email: float
    last_text: float
    stop_left: float
    texts_after_stop: int
    newsletter_share: float
    lost: int
    twice: int


def main(arguments: Sequence[str] | None = None) -> int:
    parser = start.parser("latency", __doc__)
    parser.add_argument("--n", type=int, default=1_000_000, help="people of the newsletter")
    parser.add_argument(
        "--mail-ms",
        type=int,
        default=0,
        help="of the provider, each mail call: a small newsletter lasts longer",
    )
    parser.add_argument("--rounds", type=int, choices=range(1, 51), default=5, metavar="1-50")
    given = parser.parse_args(arguments)
    return start.play(lambda stack: measure(stack, given.n, given.rounds, given.mail_ms), given.results)


def measure(stack: Stack, n: int, rounds: int, mail_ms: int) -> dict[str, Any]:
    """All rounds on a fresh database; the result for bench.record."""
    began = time.monotonic()
    ground.services()
    (stack.folder / "sandbox" / "acceptance.jsonl").unlink(missing_ok=True)
    sandbox = stack.sandbox("http://127.0.0.1:9", "--receipts", "off", "--sender-rate", str(RATE))
    os.environ.update(sandbox.environ())
    registry = open_registry(part=Part.APP)
    say(f"Making {n + URGENT_MAIL + URGENT_TEXTS + BULK_TEXTS:,} people …")
    what = settle(registry, n)
    ground.analyse(os.environ["OWNER_DATABASE_URL"])
    if mail_ms:
        sandbox.faults(email={"latency_ms": mail_ms})
    stack.worker("urgent")
    for number in range(2):
        stack.worker("bulk", f"bulk-{number}")
    stack.worker("scheduler")
    done: list[Round] = []
    for number in range(rounds):
        done.append(play(registry, sandbox, what, n))
        say(f"Round {number + 1}: {done[-1]}")
    registry.engine.dispose()
    return {
        "bench": "latency",
        "case": "urgent beside bulk",
        "n": n,
        "seconds": round(time.monotonic() - began, 1),
        "lost": sum(one.lost for one in done),
        "twice": sum(one.twice for one in done),
        "rounds": rounds,
        "urgent": URGENT_MAIL + URGENT_TEXTS,
        "bulk_texts": BULK_TEXTS,
        "mail_ms": mail_ms,
    } | _figures(done)


def _figures(done: Sequence[Round]) -> dict[str, Any]:
    """The median of each figure, and the worst beside it."""
    found: dict[str, Any] = {}
    for name, field in (
        ("first_out_s", "first_out"),
        ("last_email_s", "last_email"),
        ("last_text_s", "last_text"),
        ("stop_left_segments", "stop_left"),
        ("texts_after_stop", "texts_after_stop"),
    ):
        values = [getattr(one, field) for one in done]
        found[name] = round(statistics.median(values), 2)
        found[f"worst_{name}"] = round(max(values), 2)
    found["newsletter_under_way"] = round(min(one.newsletter_share for one in done), 3)
    return found


# -- who is written to
def settle(registry: Registry, n: int) -> Alerts:
    """The newsletter's million as in any benchmark of the fan-out, and two boroughs more."""
    newsletter = ground.settle(registry, Channel.EMAIL, n).alert
    with registry.sessions.begin() as session:
        police = organisations.by_slug(session, "bench")
        assert police is not None
        for address, lane in ((BULK_NUMBER, "bulk"), (URGENT_NUMBER, "urgent")):
            organisations.add_sender(
                session,
                [police.id],
                channel=Channel.SMS,
                provider="twilio",
                address=address,
                display_name="Bench Police",
                kind="two-way",
                lane=lane,
                segments_per_second=RATE,
                actor=ground.ACTOR,
            )
        organisations.add_sender(
            session,
            [police.id],
            channel=Channel.EMAIL,
            provider="sendgrid",
            address="urgent@wardlink.example",
            display_name="Bench Police",
            kind="email",
            lane="urgent",
            segments_per_second=RATE,
            actor=ground.ACTOR,
        )
        people: list[synthetic.SyntheticPerson] = []
        for borough, texts, mails in (
            (QUIET_BOROUGH, URGENT_TEXTS, URGENT_MAIL),
            (TEXTED_BOROUGH, BULK_TEXTS, 0),
        ):
            people += _borough(session, borough, texts, mails, after=n)
        synthetic.load(session, people, police.id, [ground.TOPIC], actor=ground.ACTOR)
        words: dict[str, Any] = {
            "controller": police.id,
            "kind": "alert",
            "topic": ground.TOPIC,
            "actor": ground.ACTOR,
        }
        texts_alert = alerts.draft(
            session,
            urgency="routine",
            headline="Bicycles stolen",
            body="Three bicycles were taken from front gardens.",
            sms_text="Bicycles stolen on Monday night. Lock yours indoors.",
            audience_expression={"areas": [TEXTED_BOROUGH]},
            channels=[str(Channel.SMS)],
            **words,
        )
        urgent = alerts.draft(
            session,
            urgency="urgent",
            headline="Gas leak in Station Road: stay away",
            body="There is a gas leak in Station Road. Stay away, and keep your windows closed.",
            sms_text="Gas leak in Station Road. Stay away. Keep windows closed.",
            audience_expression={"areas": [QUIET_BOROUGH]},
            channels=[str(Channel.SMS), str(Channel.EMAIL)],
            **words,
        )
    return Alerts(newsletter, texts_alert.id, urgent.id)


def _borough(
    session: Any, code: str, texts: int, mails: int, *, after: int
) -> list[synthetic.SyntheticPerson]:
    """A borough of one ward, and people in it. ``after``: how many e-mail addresses are taken."""
    since = date(2022, 5, 5)
    borough = Area(code=code, kind="borough", name=f"Borough {code[-2:]}", valid_from=since)
    session.add(borough)
    session.flush()
    ward = f"E0599{code[-2:]}00"
    session.add(
        Area(code=ward, kind="ward", name=f"Ward {code[-2:]}", parent_id=borough.id, valid_from=since)
    )
    session.flush()
    found: list[synthetic.SyntheticPerson] = []
    block = 10_000 * int(code[-2:])  # no two boroughs share a number, which has no place for a seventh digit
    for count, first, share in ((texts, block, 1.0), (mails, after + block, 0.0)):
        found += synthetic.generate(
            [("BE2 0AA", ward, code)],
            count,
            seed=ground.SEED,
            first=first,
            sms_share=share,
            agreed_share=1.0,
        )
    return found


# -- one round
def play(registry: Registry, sandbox: SandboxHandle, what: Alerts, n: int) -> Round:
    """Newsletter and texts under way, then the urgent alert, then the stop of the texts."""
    offset = sandbox.log.stat().st_size
    texts = _send(registry, what.texts)
    _until(lambda: _waiting(sandbox, BULK_NUMBER) >= RATE, "the texts to be under way")
    newsletter = _send(registry, what.newsletter)
    of_newsletter, of_texts = (judge.Tally(one.hex, offset=offset) for one in (newsletter, texts))
    _until(lambda: _accepted(registry, newsletter) >= n / 50, "the newsletter to be under way")
    offset, sent_at = sandbox.log.stat().st_size, time.time()
    urgent = _send(registry, what.urgent)
    tally = judge.Tally(urgent.hex, offset=offset)

    def all_out() -> bool:
        tally.catch_up(sandbox.log)
        return tally.accepted >= URGENT_MAIL + URGENT_TEXTS

    _until(all_out, "the urgent alert to be out")
    last_text = time.time() + _waiting(sandbox, URGENT_NUMBER) / RATE - sent_at
    share = _accepted(registry, newsletter) / n
    if share >= 1:
        raise StackError("The newsletter was over before the urgent alert was out: the run is void.")
    out = _moments(sandbox, urgent, offset)
    before = _taken(of_texts, sandbox)
    _stop(registry, texts)
    stopped = time.monotonic()
    left = 0.0
    while time.monotonic() - stopped < 1.0:  # what was in the air at the stop comes within a window
        left = max(left, _waiting(sandbox, BULK_NUMBER))
        time.sleep(0.02)
    after = _taken(of_texts, sandbox) - before
    _stop(registry, newsletter)
    for one in (newsletter, texts, urgent):
        _until(lambda one=one: _finished(registry, one), "the end of the round")
    _until(lambda: not sandbox.gauge()["waiting_segments"], "the provider's queues to empty")
    tally.catch_up(sandbox.log)
    of_newsletter.catch_up(sandbox.log)
    of_texts.catch_up(sandbox.log)
    return Round(
        first_out=min(out.values()) - sent_at,
        last_email=out[Channel.EMAIL] - sent_at,
        last_text=last_text,
        stop_left=left,
        texts_after_stop=after,
        newsletter_share=share,
        lost=URGENT_MAIL + URGENT_TEXTS - sum(len(c.places) for c in tally.channels.values()),
        twice=tally.twice + of_newsletter.twice + of_texts.twice,
    )


def _send(registry: Registry, alert: UUID) -> UUID:
    token = f"latency {alert.hex} {time.time_ns()}"
    with registry.sessions.begin() as session:
        return dispatch.send(session, alert, token=token, actor=ground.ACTOR, public_url=ground.PUBLIC_URL).id


def _stop(registry: Registry, one: UUID) -> None:
    with registry.sessions.begin() as session:
        dispatch.stop(session, one, actor=ground.ACTOR, why="the benchmark has seen enough")


def _moments(sandbox: SandboxHandle, one: UUID, offset: int) -> dict[str, float]:
    """Unix time of the first acceptance ("first") and of the last of each channel."""
    found: dict[str, float] = {}
    for call in judge.read(sandbox.log, offset):
        if call.refs[0].startswith(one.hex):
            found.setdefault("first", call.at)
            found[call.channel] = call.at
    return found


def _taken(tally: judge.Tally, sandbox: SandboxHandle) -> int:
    tally.catch_up(sandbox.log)
    return tally.accepted


def _waiting(sandbox: SandboxHandle, number: str) -> float:
    return float(sandbox.gauge()["waiting_segments"].get(number, 0.0))


def _accepted(registry: Registry, one: UUID) -> int:
    return int(_one(registry, "SELECT coalesce(sum(accepted), 0) FROM batches WHERE dispatch_id = :d", one))


def _finished(registry: Registry, one: UUID) -> bool:
    return bool(_one(registry, "SELECT finished_at IS NOT NULL FROM dispatches WHERE id = :d", one))


def _one(registry: Registry, statement: str, one: UUID) -> Any:
    with registry.sessions() as session:
        return session.execute(sa.text(statement), {"d": one}).scalar_one()


def _until(true: Any, what: str) -> None:
    wait_until(true, seconds=PATIENCE, what=what)


if __name__ == "__main__":
    sys.exit(main())
