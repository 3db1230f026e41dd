"""The e-mail that asks somebody about their camera: a link, and nothing of what it is about.

Anybody who sees the message, over a shoulder or in a shared mailbox, learns that there is a question and no more. What
to look for stands behind the link alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from messaging.notices import notice
from messaging.render import Tags

_STANDS_FOR = "https://wardlink.invalid/"  # stands for a link while the frame is made: a tag is no address


@dataclass(frozen=True, slots=True)
class CameraMail:
    """Subject, plain text and HTML, with the tags of a nonce for what differs per person."""

    subject: str
    text: str
    html: str


def compile_email(*, nonce: str, reference: str, controller_name: str, answer_by: str) -> CameraMail:
    """One e-mail for everybody who is asked. ``answer_by``: a day, in words."""
    tags = Tags(nonce)
    stand_ins = {f"{_STANDS_FOR}{name}": getattr(tags, name) for name in ("camera", "manage", "stop")}
    made = notice(
        f"A question about your camera, from {controller_name}",
        [
            "Hello,",
            f"You told {controller_name} that you have a camera. They would like to know what it recorded.",
            "Open the link to see what they ask, and to answer. It takes a minute; you need no account.",
            f"Please answer by {answer_by}. You do not have to.",
            "If your camera records over old footage, do not wait: the page says how to keep it.",
            f"Is it genuine? We ask for no password and no money. You can call 101 and give the reference {reference}.",
        ],
        button=("See the question and answer", f"{_STANDS_FOR}camera"),
        controller_name=controller_name,
        closing=[
            f"You get this because you are on the camera register of {controller_name}. Reference: {reference}",
            ("See or change what is held about you", f"{_STANDS_FOR}manage"),
            ("Stop all messages from them", f"{_STANDS_FOR}stop"),
        ],
    )
    text, html = made.text, made.html
    for stand_in, tag in stand_ins.items():
        text, html = text.replace(stand_in, tag), html.replace(stand_in, escape(tag))
    return CameraMail(made.subject, text, html)
