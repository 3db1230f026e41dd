"""The second factor on a page: the form that asks for it, and what a browser is asked to sign."""

from __future__ import annotations

import re
from collections.abc import Callable

import segno
import wtforms
from flask import Response, jsonify, request
from markupsafe import Markup
from sqlalchemy.orm import Session

from app.errors import Conflict, Invalid, Missing
from app.services import passkeys, recovery_codes
from app.services.factors import Door, Shown, Way
from app.services.passkeys import Kind, Party
from app.services.sessions import Visitor
from app.web import context, errors, session
from app.web.forms import Form, Line

WRONG = {
    Way.APP: ("code", "The code is not right. Wait for the next one in your app, then type that."),
    Way.RECOVERY: ("recovery", "This recovery code is not right, or was used before. Each serves once."),
    Way.PASSKEY: ("passkey", "The passkey was not taken. Try it once more, or use another way."),
}
_SIX = re.compile(r"[0-9]{6}")


class Factor(Form):
    """Any one of three: a code, a recovery code, or what the browser signed."""

    code = Line("Code from your app", longest=500, hint="6 digits. A new code comes every 30 seconds.")
    recovery = Line("Recovery code", longest=500, hint="10 letters and digits, from the list that you kept.")
    passkey = wtforms.HiddenField(default="")

    def shown(self) -> Shown | None:
        """What was shown, if it has the shape of a factor; else the form says what is wrong."""
        if self.passkey.data:
            return Shown(signed=self.passkey.data)
        if self.recovery.data:
            if recovery_codes.fits(self.recovery.data):
                return Shown(typed=recovery_codes.form(self.recovery.data))
            self.refuse(Invalid("recovery", "A recovery code has 10 letters and digits."))
            return None
        if "code" not in request.form:  # a page without a field for codes: there is no app
            self.refuse(Invalid("recovery", "Enter a recovery code, or use your passkey."))
            return None
        typed = "".join(c for c in self.code.data or "" if c not in " -\t\u00a0")
        if _SIX.fullmatch(typed):
            return Shown(typed=typed)
        self.refuse(Invalid("code", "The code has 6 digits." if typed else "Enter the 6-digit code."))
        return None

    def wrong(self, shown: Shown) -> None:
        """Say that it was not right."""
        field, words = WRONG[shown.way]
        self.refuse(Invalid(field, words))


def own() -> Visitor:
    """The visitor, who has factors of ours. Missing for whoever signs in at their organisation's provider."""
    who = session.visitor()
    assert who is not None and who.staff is not None
    if who.staff.password_hash is None:
        raise Missing("Their factors are their provider's.")
    return who


def party() -> Party | None:
    """Who we are to browsers that hold passkeys."""
    return passkeys.party(context.settings().public_url)


def door(kind: Kind, bound: bytes) -> Door:
    return Door(kind, party(), bound)


def options(ask: Callable[[Session, Party], str]) -> Response:
    """What a browser is asked to sign, as JSON; a problem in words when it cannot be asked."""
    at = party()
    if at is None:
        return problem("This site cannot use passkeys.", 409)
    try:
        with context.transaction() as db:
            found = ask(db, at)
    except Conflict as error:
        return problem(error.message, 409)
    return Response(found, mimetype="application/json")


def problem(words: str, status: int) -> Response:
    response = jsonify(problem=words)
    response.status_code = status
    return response


def too_many() -> Response:
    return errors.page(429, "Too many tries", "Wait 15 minutes, then try again. Nobody was signed in.")


def qr(text: str) -> Markup:
    """The picture of a text, with no colours or sizes that our policy would forbid."""
    drawn = segno.make(text, error="m").svg_inline(
        scale=5, border=4, light="#fff", title="QR code for your app"
    )
    return Markup(drawn.replace("<svg ", '<svg role="img" aria-label="QR code for your app" ', 1))  # noqa: S704


def groups(secret: str) -> str:
    """A key in fours, as people type it."""
    return " ".join(secret[i : i + 4] for i in range(0, len(secret), 4))
