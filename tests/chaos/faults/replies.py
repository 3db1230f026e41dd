"""People write back while the site is down: each word is kept, once, and every STOP holds."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import sqlalchemy as sa

from app.cli.demo.browser import Browser, Page, PageError
from app.cli.stack import Child, StackError, wait_until
from app.models.replies import ReplyMessage
from messaging import links
from messaging.types import Channel
from tests.chaos import later
from tests.chaos.faults.kills import FEW, FIRST, kill_site
from tests.chaos.harness import Scene, until
from tests.chaos.registry import fault

WRITERS, STOPPERS = 30, 10
DOWN_SECONDS = 4.0
WEBHOOK_SECONDS = 5.0  # for what was texted to come by itself; then the provider is asked
WORDS = "I saw it. Witness {}."

_REACHED = """
    SELECT d.contact_id, s.address FROM deliveries d
    JOIN batches b ON b.dispatch_id = d.dispatch_id AND b.n = d.batch_n JOIN senders s ON s.id = b.sender_id
    WHERE d.dispatch_id = :dispatch AND d.status >= 30 ORDER BY d.contact_id LIMIT :most
"""
_STOPPED = """
    SELECT count(DISTINCT c.id) FROM suppressions s JOIN contact_points c ON c.digest = s.digest
    WHERE c.id = ANY(CAST(:contacts AS bigint[])) AND s.reason = 'stop' AND s.lifted_at IS NULL
"""

_WAITING = "SELECT count(*) FROM raw_events WHERE merged_at IS NULL"


@fault("replies-while-web-down", "people answer by text, or by the page of their link, with the site killed")
def replies(scene: Scene) -> None:
    web = scene.site()
    scene.merger()
    written, stopped = (_by_text if scene.channel is Channel.SMS else _by_page)(scene, web)

    def lost() -> int:
        kept = _kept(scene)
        gone = sum(1 for words in written if not kept[words])
        return gone + len(stopped) - int(scene.one(_STOPPED, contacts=stopped))

    try:
        wait_until(lambda: not lost(), seconds=WEBHOOK_SECONDS, what="every reply to be in")
    except StackError:
        scene.notes["not told by webhooks"] = lost()
        scene.notes["runs of reconcile"] = later.ask_providers(scene, lambda: _merged(scene) and not lost())
    scene.replies_lost = lost()
    scene.notes["replies"] = f"{len(written)} replies, {len(stopped)} STOPs"
    scene.harms["a reply kept twice"] += [words for words, times in _kept(scene).items() if times > 1]


def _begin(scene: Scene) -> None:
    scene.hold(FIRST, "after", FEW[scene.channel])
    scene.scheduler()
    scene.worker()


def _merged(scene: Scene) -> bool:
    """Once everything that was read is taken in."""
    until(lambda: not scene.one(_WAITING), "what was read to be taken in")
    return True


def _kept(scene: Scene) -> Counter[str]:
    with scene.registry.sessions() as session:
        return Counter(session.scalars(sa.select(ReplyMessage.body).where(ReplyMessage.direction == "in")))


def _down_for_a_while() -> None:
    ends = time.monotonic() + DOWN_SECONDS
    until(lambda: time.monotonic() > ends, "the end of the outage")


def _by_text(scene: Scene, web: Child) -> tuple[list[str], list[int]]:
    """People who have had the alert text back, some of them STOP: (words, contacts who said STOP)."""
    written: list[str] = []
    stopped: list[int] = []
    _begin(scene)

    def strike() -> None:
        kill_site(web)
        for n, (contact, ours) in enumerate(scene.rows(_REACHED, most=WRITERS + STOPPERS)):
            if n < WRITERS:
                written.append(WORDS.format(n))
            else:
                stopped.append(contact)
            body = written[-1] if n < WRITERS else "STOP"
            scene.sandbox.text(scene.ground.addresses[contact], ours, body)

    scene.strike_when(
        lambda: len(scene.rows(_REACHED, most=WRITERS + STOPPERS)) == WRITERS + STOPPERS,
        strike,
        what="people text while the site is down",
        kills=False,
    )
    _down_for_a_while()
    scene.site()
    return written, stopped


def _by_page(scene: Scene, web: Child) -> tuple[list[str], list[int]]:
    """People have the page of their link open and press Send: some while the site dies, some after.

    Whoever sees no answer presses again once the site is back.
    """
    site = f"http://127.0.0.1:{scene.port}"
    until_when = links.expiry_of(scene.dispatch)
    link = scene.registry.signer.batch(links.REPLY, scene.dispatch, until_when, site)
    visitors = [Browser(site) for _ in range(WRITERS)]
    for visitor, contact in zip(visitors, scene.ground.addresses, strict=False):
        visitor.open(link(contact))
    written = [WORDS.format(n) for n in range(WRITERS)]
    answered: set[int] = set()

    def press(n: int) -> None:
        page: Page | None = visitors[n].page
        try:
            visitors[n].send(body=written[n]).says("Thank you")
            answered.add(n)
        except (OSError, PageError):
            visitors[n].page = page  # what they typed is still before them

    def strike() -> None:
        with ThreadPoolExecutor(WRITERS) as people:
            pressed: list[Any] = [people.submit(press, n) for n in range(WRITERS // 2)]
            kill_site(web)
            pressed += [people.submit(press, n) for n in range(WRITERS // 2, WRITERS)]
            for one in pressed:
                one.result()

    _begin(scene)
    scene.strike_when(lambda: True, strike, what="people press Send while the site dies", kills=False)
    _down_for_a_while()
    scene.site()
    again = [n for n in range(WRITERS) if n not in answered]
    scene.notes["pressed again"] = len(again)
    for n in again:
        press(n)
    return written, []
