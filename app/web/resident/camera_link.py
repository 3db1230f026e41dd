"""The link of a message that puts a camera on the register: what its owner agrees to, and the button."""

from __future__ import annotations

from flask import redirect, url_for
from werkzeug.wrappers import Response

from app.db import utc_now
from app.errors import Invalid, TooMany
from app.services.confirmations.links import LinkView
from app.services.register import opting
from app.web import context, errors, session
from app.web.resident import asking
from app.web.resident.cameras import signed_in


def show(seen: LinkView) -> Response:
    """Looking changes nothing: mail programs open links by themselves."""
    if seen.used or seen.signup is None:
        return redirect(url_for("my_cameras.mine"), 303)
    with context.transaction() as s:
        _, text = opting.wording(s, seen.signup.wording)
    return asking.page("resident/camera_confirm.html", seen=seen.signup, agreement=text)


def press(token: str) -> Response:
    """The camera is on the register, and its owner's page opens. Missing when the link confirms nothing."""
    try:
        with context.transaction() as s:
            opened = opting.press(s, token, actor=session.actor(), now=utc_now())
            if opened is not None:
                session.replace(s)
    except Invalid as error:
        return errors.page(409, "This camera cannot be put on the register", error.message)
    except TooMany as error:
        return errors.page(429, words=error.message)
    return redirect(url_for("my_cameras.mine"), 303) if opened is None else signed_in(opened)
