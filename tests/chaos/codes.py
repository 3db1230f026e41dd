"""Service messages in a case: codes to people, each sent once or in doubt by name."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from uuid import UUID

from app.db import utc_now
from app.services import post
from messaging.notices import Notice
from messaging.sandbox import judge as log
from messaging.types import Channel, DeliveryRef
from tests.chaos.harness import Scene


def queued(scene: Scene, count: int) -> set[UUID]:
    """Queue a code to each of ``count`` people; the ids of the messages."""
    now = utc_now()
    found: set[UUID] = set()
    with scene.registry.sessions.begin() as session:
        controller = scene.one("SELECT controller_id FROM dispatches WHERE id = :dispatch")
        for n in range(count):
            text = f"Your Wardlink code is {n:06d}"
            common = {"kind": "confirm", "controller": controller, "synthetic": True, "now": now}
            if scene.channel is Channel.EMAIL:
                made: UUID | None = post.queue_email(
                    session,
                    address=f"code{n}@people.example",
                    content=Notice("Your code", text, f"<p>{text}</p>"),
                    expires_at=now + timedelta(hours=1),
                    **common,
                )
            else:
                made = post.queue_text(
                    session,
                    address=f"+447700900{800 + n}",
                    text=text,
                    expires_at=now + timedelta(hours=1),
                    **common,
                )
            assert made is not None
            found.add(made)
    return found


def settled(scene: Scene) -> bool:
    return not scene.one("SELECT count(*) FROM service_messages WHERE state IN ('waiting', 'sending')")


def judge(scene: Scene, sent: set[UUID]) -> None:
    """Hold the provider's log against the messages; what is wrong goes into the scene's ``harms``."""
    taken: Counter[UUID] = Counter()
    for call in log.read(scene.sandbox.log):
        taken.update(ref.dispatch for text in call.refs if (ref := DeliveryRef.parse(text)).dispatch in sent)
    states = {
        UUID(str(row[0])): row[1]
        for row in scene.rows("SELECT id, state FROM service_messages")
        if UUID(str(row[0])) in sent
    }
    doubt = {message for message in sent if states.get(message) == "in_doubt"}
    scene.notes["codes"] = f"{len(sent)} codes: {len(taken)} taken, {len(doubt)} in doubt"
    scene.harms["a code twice"] += [str(m) for m, times in taken.items() if times > 1]
    scene.harms["a code lost"] += [str(m) for m in sent - set(taken) - doubt]
    scene.harms["a code taken and called otherwise"] += [
        f"{m} is {states[m]}" for m in taken if states[m] not in ("sent", "in_doubt")
    ]
