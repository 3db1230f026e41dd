"""The record, for auditors: searched for a reason, opened entry by entry, exported; and the heads that vouch for it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from app.audit import bundle
from app.db import utc_now
from app.errors import Invalid, TooMany
from app.permissions import Permission
from app.services.record_search import files, finding, tickets, wanted, words
from app.services.record_search.finding import Cursor
from app.web import context, errors, guards
from app.web import session as browser
from app.web.admin.looking import Export, Search, told

pages = Blueprint("record", __name__, url_prefix="/staff/record")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"([0-9]{1,17})-([0-9]{1,18})")
# What PostgreSQL can count to; a longer number is no entry's.
_ID = "int(max=9223372036854775807)"
TYPES = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


@pages.get("")
@guards.staff(Permission.RECORD_SEARCH)
def search() -> Response:
    """The form."""
    return _form(Search())


@pages.post("")
@guards.staff(Permission.RECORD_SEARCH)
def look() -> AnyResponse:
    """Put the search on the record; what it found is shown once that is committed."""
    form = Search()
    if not form.validate():
        return _form(form, 400)
    try:
        with context.transaction() as session:
            found = wanted.read(session, browser.who(), form.typed, regions=context.settings().sms_regions)
            ticket = tickets.begin(
                session,
                browser.who(),
                found,
                why=form.why.data or "",
                actor=browser.actor(),
                now=utc_now(),
            )
    except Invalid as error:
        form.refuse(error, otherwise="why")
        return _form(form, 400)
    except TooMany as error:
        form.why.errors = [error.message]
        return _form(form, 429)
    return redirect(url_for("record.found", search_id=ticket), 303)


@pages.get(f"/<{_ID}:search_id>")
@guards.staff(Permission.RECORD_SEARCH)
def found(search_id: int) -> str:
    """What a search found, a page at a time, newest first."""
    return _found(search_id, Export())


@pages.get(f"/<{_ID}:search_id>/<{_ID}:entry_id>")
@guards.staff(Permission.RECORD_SEARCH)
def entry(search_id: int, entry_id: int) -> Response:
    """One entry. That it was opened is on the record, and committed, before it is read."""
    who = browser.who()
    try:
        with context.transaction() as session:
            ticket = tickets.found(session, who, search_id, now=utc_now())
            tickets.consult(session, who, ticket, entry_id, actor=browser.actor(), now=utc_now())
    except TooMany as error:
        return errors.page(429, words=error.message)
    with context.transaction() as session:
        (one,) = words.said(session, who, [tickets.opened(session, entry_id)])
    return make_response(render_template("admin/record_entry.html", one=one, ticket=ticket))


@pages.post(f"/<{_ID}:search_id>/export")
@guards.staff(Permission.RECORD_EXPORT)
def export(search_id: int) -> AnyResponse:
    """What a search found, as a file. The export is on the record before its first byte leaves."""
    who, form = browser.who(), Export()
    if not form.validate():
        return make_response(_found(search_id, form), 400)
    kind = str(form.file.data)
    try:
        with context.transaction() as session:
            ticket = tickets.found(session, who, search_id, now=utc_now())
            number = tickets.export(session, who, ticket, kind, actor=browser.actor(), now=utc_now())
    except TooMany as error:
        form.file.errors = [error.message]
        return make_response(_found(search_id, form), 429)
    found = tickets.exported(context.registry().sessions, who, ticket)
    made = files.csv_lines(found) if kind == "csv" else files.json_lines(found)
    return _download(made, TYPES[kind], f"record-{number}.{kind}")


@pages.get("/heads")
@guards.staff(Permission.RECORD_EXPORT)
def heads() -> str:
    """What signed heads are, how to check an export with them, and the button that downloads them."""
    return _heads()


@pages.post("/heads")
@guards.staff(Permission.RECORD_EXPORT)
def take_heads() -> AnyResponse:
    """Signed heads, the public key and the checker, in one archive."""
    settings = context.settings()
    if settings.heads_dir is None or not settings.seal_public_key or not bundle.available(settings.heads_dir):
        return make_response(_heads(), 409)
    try:
        with context.transaction() as session:
            tickets.export_heads(session, browser.who(), actor=browser.actor(), now=utc_now())
    except TooMany as error:
        return make_response(_heads(error.message), 429)
    made = bundle.stream(settings.heads_dir, settings.seal_public_key)
    return _download(made, "application/zip", "wardlink-heads.zip")


def _download(parts: Iterator[str] | Iterator[bytes], mimetype: str, name: str) -> Response:
    response = Response(parts, mimetype=mimetype)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def _form(form: Search, status: int = 200) -> Response:
    with context.transaction() as session:
        recent = tickets.own_searches(session, browser.who(), now=utc_now())
    return make_response(
        render_template("admin/record.html", form=form, problems=form.problems, recent=recent, told=told),
        status,
    )


def _found(search_id: int, form: Export) -> str:
    who = browser.who()
    before = _cursor(request.args.get("before", ""))
    with context.transaction() as session:
        ticket = tickets.found(session, who, search_id, now=utc_now())
        rows = tickets.page(session, who, ticket, before=before)
        said = words.said(session, who, rows[: finding.PAGE])
    after = said[-1].found.cursor if len(rows) > finding.PAGE else None
    return render_template(
        "admin/record_found.html",
        ticket=ticket,
        told=told(ticket),
        lines=said,
        first=before is None,
        after=_written(after),
        form=form,
        problems=form.problems,
        most=tickets.MOST_EXPORTED,
    )


def _heads(refused: str | None = None) -> str:
    settings = context.settings()
    here = settings.heads_dir is not None and bundle.available(settings.heads_dir)
    return render_template(
        "admin/record_heads.html",
        here=here and bool(settings.seal_public_key),
        key=settings.seal_public_key.hex(),
        problems=[{"text": refused, "href": "#heads"}] if refused else [],
    )


def _cursor(text: str) -> Cursor | None:
    """A cursor as it stands in an address; whatever is none means the first page."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    try:
        return Cursor(_EPOCH + timedelta(microseconds=int(match[1])), int(match[2]))
    except OverflowError:
        return None


def _written(cursor: Cursor | None) -> str | None:
    return cursor and f"{(cursor.at - _EPOCH) // timedelta(microseconds=1)}-{cursor.id}"
