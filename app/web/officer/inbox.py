"""The team's inbox: replies by alert, answered and closed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from sqlalchemy.orm import Session
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from app.access import Who
from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.permissions import Permission
from app.services import answers, replies
from app.services.replies import Cursor, Thread
from app.web import context, forms, guards
from app.web import session as browser
from app.web.officer import writing
from messaging.types import Channel

pages = Blueprint("inbox", __name__)

STATES = {"new": "New", "answered": "Answered", "closed": "Closed"}
# What a page says once after it was changed: by a word in its address, so that nothing needs to be remembered.
DONE = {
    "answered": "Your answer is on its way.",
    "closed": "This is closed. If they write again, it comes back as new.",
    "reopened": "This is open again.",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9a-f]{32})")


class AnswerForm(forms.Form):
    """An answer by e-mail."""

    body = forms.Lines(
        "Your answer",
        longest=answers.LONGEST[Channel.EMAIL],
        needed="Write your answer.",
        hint="They get an e-mail with your team's name on it, not yours, and a link to write back.",
    )


class TextForm(forms.Form):
    """An answer as a text."""

    body = forms.Lines(
        "Your answer",
        longest=answers.LONGEST[Channel.SMS],
        needed="Write your answer.",
        hint=(
            "They get a text with your team's name on it, not yours. Up to 480 characters; keep it short. "
            "Every 153 characters are paid for, and a link to write back takes about 130."
        ),
    )


@pages.route("/staff/inbox", methods=["GET"], endpoint="replies")
@guards.staff(Permission.REPLY_READ)
def listed() -> str:
    """Threads in one state, a page at a time."""
    state = request.args.get("state", "new")
    if state not in STATES:
        raise NotFound
    after = _cursor(request.args.get("after", ""))
    with context.transaction() as session:
        page = replies.inbox(session, browser.who(), state=state, after=after)
        replies.read_page(session, browser.who(), page, actor=browser.actor())
    return render_template(
        "officer/inbox.html",
        page=page,
        state=state,
        states=STATES,
        most=replies.COUNTED,
        first=after is None,
        after=_written(page.after),
    )


@pages.route("/staff/inbox/<uuid:reply_id>", methods=["GET"])
@guards.staff(Permission.REPLY_READ)
def reply(reply_id: UUID) -> Response:
    """One thread. That it was read goes on the record; nothing else changes."""
    return _thread(reply_id)


@pages.route("/staff/inbox/<uuid:reply_id>/answer", methods=["POST"])
@guards.staff(Permission.REPLY_ANSWER)
def answer(reply_id: UUID) -> AnyResponse:
    """Send an answer, once."""
    registry, settings = context.registry(), context.settings()
    body, once = AnswerForm().body.data or "", request.form.get("once", "")
    try:
        with context.transaction() as session:
            answers.answer(
                session,
                browser.who(),
                reply_id,
                body=body,
                once=once,
                signer=registry.signer,
                public_url=settings.public_url,
                regions=settings.sms_regions,
                actor=browser.actor(),
                now=utc_now(),
                seen=_seen(),
            )
    except Missing:
        raise NotFound from None
    except (Invalid, Conflict) as error:
        return _thread(reply_id, refused=error.message)
    return _back(reply_id, "answered")


@pages.route("/staff/inbox/<uuid:reply_id>/close", methods=["POST"])
@guards.staff(Permission.REPLY_ANSWER)
def close(reply_id: UUID) -> AnyResponse:
    """Nothing more to do, as far as the page showed."""
    try:
        _change(
            lambda s, who: replies.close(s, who, reply_id, actor=browser.actor(), now=utc_now(), seen=_seen())
        )
    except Conflict as error:
        return _thread(reply_id, refused=error.message)
    return _back(reply_id, "closed")


@pages.route("/staff/inbox/<uuid:reply_id>/reopen", methods=["POST"])
@guards.staff(Permission.REPLY_ANSWER)
def reopen(reply_id: UUID) -> AnyResponse:
    """There is something to do after all."""
    _change(lambda s, who: replies.reopen(s, who, reply_id, actor=browser.actor()))
    return _back(reply_id, "reopened")


def _seen() -> datetime:
    """When the last word was that the page showed."""
    return writing.moment(request.form.get("seen"))


def _change(act: Callable[[Session, Who], None]) -> None:
    try:
        with context.transaction() as session:
            act(session, browser.who())
    except Missing:
        raise NotFound from None


def _back(reply_id: UUID, done: str) -> AnyResponse:
    return redirect(url_for("inbox.reply", reply_id=reply_id, done=done), 303)


def _thread(reply_id: UUID, *, refused: str | None = None) -> Response:
    before = _cursor(request.args.get("before", ""))
    try:
        with context.transaction() as session:
            found = replies.thread(session, browser.who(), reply_id, actor=browser.actor(), before=before)
    except Missing:
        raise NotFound from None
    form = _form(found)
    if refused is not None:
        form.body.errors = [refused]
    return make_response(
        render_template(
            "officer/inbox_reply.html",
            thread=found,
            form=form,
            once=secrets.token_hex(16),
            states=STATES,
            earlier=_written(found.earlier),
            later=before is not None,
            done=None if refused else DONE.get(request.args.get("done", "")),
            problems=form.problems if refused else [],
        ),
        400 if refused else 200,
    )


def _form(found: Thread) -> forms.Form:
    return TextForm() if found.channel == Channel.SMS else AnswerForm()


def _cursor(text: str) -> Cursor | None:
    """A cursor as it stands in an address; whatever is none means the first page."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    try:
        return Cursor(_EPOCH + timedelta(microseconds=int(match[1])), UUID(hex=match[2]))
    except OverflowError:
        return None


def _written(cursor: Cursor | None) -> str | None:
    return cursor and f"{(cursor.at - _EPOCH) // timedelta(microseconds=1)}-{cursor.id.hex}"
