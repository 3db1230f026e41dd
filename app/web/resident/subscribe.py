"""Signing up: topics, addresses, and proving each of them. Nothing personal is asked before the second page."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import wtforms
from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from app.db import utc_now
from app.errors import Conflict, Invalid, Missing
from app.services import areas, consent, subscriptions, team_entries
from app.services.areas import Ward
from app.services.confirmations import links, signups
from app.services.confirmations.entering import Entered
from app.services.confirmations.rations import TooMany
from app.services.confirmations.signups import REGISTER, SignupView
from app.services.people import Address
from app.web import context, errors, guards, session
from app.web.forms import Code, Form, Line, Many, One
from app.web.resident import asking, camera_link
from geo.postcode import MAX_TYPED_CHARACTERS, PostcodeError
from messaging.types import Channel

pages = Blueprint("subscribe", __name__)

_GONE = (
    "This sign-up is no longer here",
    "A sign-up that nobody confirms is deleted after 7 days. If you still want alerts, sign up again.",
)
_LINK_GONE = (
    "This link does not work",
    "It may have run out, or there is a newer message with a newer link. Use the newest message, or start again.",
)
_TOPICS = [(topic, label) for topic, (label, _) in subscriptions.TOPIC_WORDS.items()]
_HINTS = {topic: hint for topic, (_, hint) in subscriptions.TOPIC_WORDS.items()}


class TopicsForm(Form):
    """Read from the query of a GET: choosing changes nothing."""

    organisation = One("Who should send you alerts?", needed="Choose who should send you alerts.")
    topic = Many("What do you want to hear about?", _TOPICS, needed="Choose at least one topic.")

    def __init__(self, organisations: list[tuple[UUID, str]]) -> None:
        wtforms.Form.__init__(self, request.args)
        self.organisation.choices = [(str(one), name) for one, name in organisations]
        if len(organisations) == 1:
            self.organisation.data = str(organisations[0][0])
            self.organisation.raw_data = [self.organisation.data]


class ContactForm(Form):
    email = Line("Your e-mail address", longest=254)
    mobile = Line("Your mobile number", longest=40, hint="Text messages only. A landline cannot get them.")
    name = Line(
        "Your first name (optional)",
        longest=signups.LONGEST_NAME,
        hint="So that we can greet you.",
    )
    wording = wtforms.HiddenField()

    def addresses(self) -> list[Address]:
        """Those that were given; what is wrong with them stands beside their fields."""
        found = []
        for field, channel in ((self.email, Channel.EMAIL), (self.mobile, Channel.SMS)):
            if field is not None and field.data:
                try:
                    found.append(asking.address(channel, field.data, field.name))
                except Invalid as error:
                    self.refuse(error)
        return found


class CodeForm(Form):
    code = Code("Code")


@dataclass(frozen=True, slots=True)
class _Choice:
    """Where somebody lives and who may write to them about it."""

    ward: Ward
    organisations: list[tuple[UUID, str]]
    form: TopicsForm


def _choice() -> _Choice | AnyResponse:
    """What the query says so far; a page instead where it leads nowhere."""
    typed = request.args.get("postcode", "")
    if not typed:
        return redirect(url_for("ward.home"))
    try:
        with context.transaction() as s:
            ward = areas.find_ward(s, typed)
            organisations = team_entries.controllers_of_ward(s, ward.area_id)
    except PostcodeError:
        # The page of postcodes says what is wrong with it.
        shown = "".join(c for c in typed[:MAX_TYPED_CHARACTERS] if c.isprintable())
        return redirect(url_for("ward.postcode", postcode=shown))
    if not organisations:
        words = f"No organisation sends alerts about {ward.name} ward through this service yet."
        return errors.page(404, "No alerts here yet", words)
    return _Choice(ward, organisations, TopicsForm(organisations))


def _topics_page(choice: _Choice, status: int = 200) -> Response:
    return asking.page(
        "resident/topics.html",
        status,
        form=choice.form,
        ward=choice.ward,
        hints=_HINTS,
        organisations=choice.organisations,
        problems=choice.form.problems,
    )


@pages.route("/subscribe", methods=["GET"])
@guards.anyone
def topics() -> AnyResponse:
    """What somebody wants to hear about."""
    choice = _choice()
    return _topics_page(choice) if isinstance(choice, _Choice) else choice


@pages.route("/subscribe/contact", methods=["GET", "POST"])
@guards.anyone
def contact() -> AnyResponse:
    """Where to send it, and what is agreed to."""
    choice = _choice()
    if not isinstance(choice, _Choice):
        return choice
    if not choice.form.validate():
        return _topics_page(choice, 400)
    form = ContactForm()
    controller = UUID(choice.form.organisation.data)
    with context.transaction() as s:
        if not signups.can_text(s, controller):
            del form.mobile
    if request.method != "POST":
        return _contact_page(choice, form)
    answer = _begin(choice, form, controller)
    return answer if answer is not None else _contact_page(choice, form, 400)


def _begin(choice: _Choice, form: ContactForm, controller: UUID) -> AnyResponse | None:
    """Queue the codes; None when the form is not right yet."""
    addresses = form.addresses() if form.validate() else []
    if form.problems:
        return None
    try:
        with context.transaction() as s:
            token = signups.begin(
                s,
                controller=controller,
                postcode=choice.ward.postcode,
                topics=choice.form.topic.data,
                wording=_number(form.wording.data),
                addresses=addresses,
                salutation=form.name.data,
                terms=asking.terms(),
                now=utc_now(),
            )
    except TooMany as error:
        return asking.too_many(error)
    except Invalid as error:
        form.refuse(error, otherwise="email")
    except Conflict as error:
        form.refuse(Invalid("email", error.message))
    except Missing:
        return _no_wording()
    else:
        return redirect(url_for("subscribe.check", token=token), 303)
    return None


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else 0


def _no_wording() -> Response:
    return errors.page(503, "You cannot sign up yet", "This service is still being set up. Try again later.")


def _contact_page(choice: _Choice, form: ContactForm, status: int = 200) -> Response:
    try:
        with context.transaction() as s:
            wording = consent.current_wording(s)
    except Missing:
        return _no_wording()
    form.wording.data = str(wording.id)
    chosen = choice.form.organisation.data
    return asking.page(
        "resident/contact.html",
        status,
        form=form,
        wording=wording,
        ward=choice.ward,
        organisation=next(name for one, name in choice.organisations if str(one) == chosen),
        back=url_for(
            "subscribe.topics",
            postcode=choice.ward.postcode,
            topic=choice.form.topic.data,
            organisation=chosen,
        ),
        action=url_for(
            "subscribe.contact",
            postcode=choice.ward.postcode,
            topic=choice.form.topic.data,
            organisation=chosen,
        ),
        problems=form.problems,
    )


@pages.route("/subscribe/check/<token>", methods=["GET", "POST"])
@guards.anyone
def check(token: str) -> AnyResponse:
    """The codes of a sign-up, one after the other."""
    form = CodeForm()
    try:
        if request.method == "POST" and form.validate():
            result = _enter(token, form.code.data)
            if result is Entered.RIGHT:
                return redirect(url_for("subscribe.check", token=token), 303)
            form.refuse(Invalid("code", result.message))
        with context.transaction() as s:
            seen = signups.view(s, token, now=utc_now())
    except TooMany as error:
        return asking.too_many(error)
    except Missing:
        return asking.gone(*_GONE)
    if request.method != "POST" and (seen.finished or (seen.confirmed and "finish" in request.args)):
        return _done(seen)
    return asking.page(
        "resident/check.html",
        400 if form.problems else 200,
        form=form,
        token=token,
        seen=seen,
        sent_again="again" in request.args,
        problems=form.problems,
    )


def _enter(token: str, code: str) -> Entered:
    with context.transaction() as s:
        return signups.enter(s, token, code, asking.terms(), actor=session.actor(), now=utc_now())


def _done(seen: SignupView) -> Response:
    labels = [subscriptions.TOPIC_WORDS[topic][0] for topic in seen.topics]
    return asking.page("resident/signed_up.html", seen=seen, topics=labels)


@pages.route("/subscribe/check/<token>/again", methods=["POST"])
@guards.anyone
def again(token: str) -> AnyResponse:
    """New codes to the addresses that are not confirmed yet."""
    try:
        with context.transaction() as s:
            signups.again(s, token, asking.terms(), now=utc_now())
    except TooMany as error:
        return asking.too_many(error)
    except Missing:
        return asking.gone(*_GONE)
    return redirect(url_for("subscribe.check", token=token, again=1), 303)


@pages.route("/confirm/<token>", methods=["GET", "POST"])
@guards.anyone
def confirm(token: str) -> AnyResponse:
    """The link in an e-mail. Mail programs open links by themselves, so a button confirms."""
    try:
        if request.method == "POST":
            return _press(token)
        with context.transaction() as s:
            seen = links.look(s, token, now=utc_now())
    except Missing:
        return asking.gone(*_LINK_GONE)
    if seen.signup is None:
        return asking.gone(*_LINK_GONE) if seen.used else asking.page("resident/open_page.html")
    if seen.signup.purpose == REGISTER:
        return camera_link.show(seen)
    if not seen.used:
        return asking.page("resident/confirm.html", seen=seen.signup)
    return _done(seen.signup)


def _press(token: str) -> AnyResponse:
    with context.transaction() as s:
        seen = links.look(s, token, now=utc_now())
    if seen.signup is not None and seen.signup.purpose == REGISTER:
        return camera_link.press(token)
    with context.transaction() as s:
        opened = links.press(s, token, actor=session.actor(), now=utc_now())
        if opened is not None:
            session.replace(s)
    if opened is None:
        return redirect(url_for("subscribe.confirm", token=token), 303)
    response = redirect(url_for("manage.page"), 303)
    session.keep(response, opened)  # type: ignore[arg-type]
    return response


@pages.route("/not-me/<token>", methods=["GET", "POST"])
@guards.signed
def not_me(token: str) -> AnyResponse:
    """“It was not me”, from the first message: the link is its own authority, for mail programs press it too."""
    try:
        with context.transaction() as s:
            if request.method == "POST":
                links.refuse(s, token, actor=session.actor(), now=utc_now())
            refused = links.look_at_refusal(s, token)
    except Missing:
        words = "What was asked for has been deleted by now, so there is nothing left to refuse."
        return asking.gone("There is nothing left to do", words)
    # No redirect after the POST: RFC 8058 forbids it.
    return asking.page("resident/refused.html" if refused else "resident/not_me.html")
