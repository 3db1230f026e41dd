"""The page of one's own alerts, by fresh link or code."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import structlog
from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Invalid, Missing
from app.services import subscriptions
from app.services.confirmations import own_page
from app.services.confirmations.rations import TooMany
from app.services.people import Address
from app.services.sessions import Visitor
from app.services.subscriptions import TOPIC_WORDS, Mine
from app.web import context, errors, guards, session
from app.web.forms import Code, Form, Line
from app.web.resident import asking
from geo.postcode import MAX_TYPED_CHARACTERS, PostcodeError
from messaging.links import MANAGE, LinkError
from messaging.types import Channel

log = structlog.get_logger(__name__)
pages = Blueprint("manage", __name__)

_RUN_OUT = (
    "This page has run out",
    "A code lasts 30 minutes. Ask for a new one: choose “Change or stop” above.",
)


class AskForm(Form):
    address = Line(
        "Your e-mail address or mobile number",
        longest=254,
        needed="Enter the e-mail address or mobile number that the alerts come to.",
        hint="The one that the alerts come to.",
    )


class CodeForm(Form):
    code = Code("Code")


class MoveForm(Form):
    postcode = Line("Your new postcode", longest=MAX_TYPED_CHARACTERS, needed="Enter your new postcode.")


@pages.route("/manage", methods=["GET", "POST"])
@guards.anyone
def ask() -> AnyResponse:
    """Which address; the answer is the same whether we know it or not."""
    found = session.visitor()
    if request.method != "POST" and found is not None and found.contact is not None:
        return redirect(_home())
    form = AskForm()
    if request.method == "POST" and form.validate():
        typed = form.address.data
        try:
            channel = Channel.EMAIL if "@" in typed else Channel.SMS
            return _send_to(asking.address(channel, typed, "address"))
        except Invalid as error:
            form.refuse(error)
    problems = form.problems
    return asking.page("resident/ask.html", 400 if problems else 200, form=form, problems=problems)


def _send_to(address: Address) -> AnyResponse:
    try:
        with context.transaction() as s:
            token = own_page.ask(s, address, asking.terms(), now=utc_now())
    except TooMany as error:
        return asking.too_many(error)
    return redirect(url_for("manage.check", token=token, to=request.args.get("to")), 303)


def _home() -> str:
    """Of a resident who is signed in: their alerts, or their cameras if they came for those."""
    return url_for("my_cameras.mine" if request.args.get("to") == "cameras" else "manage.page")


@pages.route("/manage/check/<token>", methods=["GET", "POST"])
@guards.anyone
def check(token: str) -> AnyResponse:
    """The code; with the right one the browser is signed in."""
    form = CodeForm()
    try:
        if request.method == "POST" and form.validate():
            with context.transaction() as s:
                result, opened = own_page.enter(s, token, form.code.data, asking.terms(), now=utc_now())
                if opened is not None:
                    session.replace(s)
            if opened is not None:
                response = redirect(_home(), 303)
                session.keep(response, opened)  # type: ignore[arg-type]
                return response
            form.refuse(Invalid("code", result.message))
        with context.transaction() as s:
            seen = own_page.page(s, token, now=utc_now())
    except TooMany as error:
        return asking.too_many(error)
    except Missing:
        return asking.gone(*_RUN_OUT)
    problems = form.problems
    return asking.page(
        "resident/code.html", 400 if problems else 200, form=form, seen=seen, problems=problems
    )


@pages.route("/m/<token>", methods=["GET", "POST"])
@guards.anyone
def from_message(token: str) -> AnyResponse:
    """“Change what you get” in a message. It may have been passed on, so it opens nothing without a code."""
    try:
        target = context.registry().signer.verify(MANAGE, token, utc_now())
    except LinkError as error:
        log.info("link_refused", code=error.code)
        return _no_link(error)
    if request.method != "POST":
        return asking.page("resident/from_message.html")
    try:
        with context.transaction() as s:
            page_token = own_page.ask_by_link(s, target.contact, asking.terms(), now=utc_now())
    except TooMany as error:
        return asking.too_many(error)
    return redirect(url_for("manage.check", token=page_token), 303)


def _no_link(error: LinkError) -> Response:
    if error.code == "expired":
        words = "Use the link in a newer message, or choose “Change or stop” above."
        return errors.page(410, "This link has expired", words)
    words = "Check that you copied all of it, or choose “Change or stop” above."
    return asking.gone("This link does not work", words)


def _contact() -> int:
    """Whose page it is. Only behind ``guards.resident``."""
    found: Visitor | None = session.visitor()
    assert found is not None and found.contact is not None
    return found.contact.id


@pages.route("/my", methods=["GET"])
@guards.resident
def page() -> AnyResponse:
    """Everything that comes to this address, place by place."""
    found = session.visitor()
    assert found is not None and found.contact is not None
    with context.transaction() as s:
        places = subscriptions.mine(s, found.contact.id)
    done = next((word for word in ("saved", "removed", "moved") if word in request.args), "")
    return asking.page(
        "resident/my.html",
        places=places,
        address=found.contact.address,
        texts=found.contact.channel == Channel.SMS,
        topics=TOPIC_WORDS,
        done=done,
    )


@pages.route("/my/topics", methods=["POST"])
@guards.resident
def topics() -> AnyResponse:
    """The topics of one place, all at once; none of them ends the place."""
    chosen = [topic for topic in TOPIC_WORDS if topic in request.form.getlist("topic")]
    try:
        with context.transaction() as s:
            subscriptions.set_topics(
                s, _contact(), _place(request.form.get("place")), chosen, actor=session.actor()
            )
    except Missing:
        raise NotFound from None
    done = url_for("manage.page", saved=1) if chosen else url_for("manage.page", removed=1)
    return redirect(done, 303)


def _place(text: str | None) -> UUID:
    try:
        return UUID(text or "")
    except ValueError:
        raise NotFound from None


@pages.route("/my/move", methods=["GET", "POST"])
@guards.resident
def move() -> AnyResponse:
    """The same topics at a new postcode."""
    place = _place(request.args.get("place"))
    form = MoveForm()
    try:
        if request.method == "POST" and form.validate() and _move(place, form):
            return redirect(url_for("manage.page", moved=1), 303)
        with context.transaction() as s:
            seen: Mine = subscriptions.the_place(s, _contact(), place)
    except Missing:
        raise NotFound from None
    problems = form.problems
    return asking.page(
        "resident/move.html", 400 if problems else 200, form=form, place=seen, problems=problems
    )


def _move(place: UUID, form: MoveForm) -> bool:
    try:
        with context.transaction() as s:
            subscriptions.move(s, _contact(), place, form.postcode.data, actor=session.actor())
    except PostcodeError as error:
        form.refuse(Invalid("postcode", error.message))
    except Invalid as error:
        form.refuse(error)
    return not form.problems


@pages.route("/my/leave", methods=["GET", "POST"])
@guards.resident
def leave() -> AnyResponse:
    """Everything, with every organisation; complete at once."""
    if request.method != "POST":
        found = session.visitor()
        assert found is not None and found.contact is not None
        return asking.page("resident/leave_all.html", address=found.contact.address)
    response = redirect(url_for("manage.left"), 303)
    with context.transaction() as s:
        with suppress(Missing):  # erased meanwhile: nothing is left to leave
            subscriptions.leave_all(s, _contact(), actor=session.actor())
        session.end(s, response)  # type: ignore[arg-type]
    return response


@pages.route("/manage/left", methods=["GET"])
@guards.anyone
def left() -> AnyResponse:
    """What it means that somebody has left."""
    return asking.page("resident/gone.html")


@pages.route("/my/sign-out", methods=["POST"])
@guards.resident
def sign_out() -> AnyResponse:
    """Close the page; nothing changes."""
    response = redirect(url_for("ward.home"), 303)
    with context.transaction() as s:
        session.end(s, response)  # type: ignore[arg-type]
    return response
