"""The rules of one mail/send call: SendGrid's (specification and limitations page), then ours.

Written for speed: 1,000 recipients take a few milliseconds with every rule looked at.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

MAX_RECIPIENTS = 1000
MAX_SUBSTITUTIONS = 10_000  # bytes for one personalisation
_MAX_ARGS = 10_000
_SURELY_SMALL = 2_500  # characters: UTF-8 takes at most four bytes for one
_REF_ARG = "wl"
_MOST_PROBLEMS = 1000
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}").fullmatch
_UNSUBSCRIBE = re.compile(r"<https?://[^<>\s]+>").search
_ONE_CLICK = "List-Unsubscribe=One-Click"
_RESERVED = frozenset(
    (
        *("x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding"),
        *("to", "from", "subject", "reply-to", "cc", "bcc"),
    )
)
_BAD_TO = (
    "The to array is required for all personalization objects, and must have at least one email object "
    "with a valid email address."
)
_STRINGS = {str}
_OURS = "The sandbox's own rule: "


class Problem(NamedTuple):
    """One line of a refusal: the field as SendGrid names it, and why."""

    field: str | None
    message: str


class CheckedMail(NamedTuple):
    """A call without fault. ``to``, ``refs`` and ``args`` go together, place by place."""

    sender: str
    to: list[str]
    refs: list[str]
    args: list[dict[str, str]]


def is_address(text: object) -> bool:
    """An address that SendGrid takes: ASCII, local part ≤ 64 and whole ≤ 254 characters."""
    return isinstance(text, str) and len(text) <= 254 and _ADDRESS(text) is not None and text.index("@") <= 64


def check(body: bytes) -> CheckedMail | list[Problem]:
    """Judge a whole call; a list names everything that is wrong, never empty."""
    try:
        mail = orjson.loads(body)
    except orjson.JSONDecodeError:
        return [Problem(None, "Bad Request: the body is not JSON")]
    if not isinstance(mail, dict):
        return [Problem(None, "Bad Request: the body must be a JSON object")]
    people = mail.get("personalizations")
    if not isinstance(people, list) or not 1 <= len(people) <= MAX_RECIPIENTS:
        return [Problem("personalizations", "The personalizations field is required: 1 to 1000 of them.")]
    problems = _check_call(mail)
    problems += _check_ours(mail)
    checked = CheckedMail("", [], [], [])
    _check_people(people, mail, checked, problems)
    if len(checked.to) > MAX_RECIPIENTS:
        problems.append(Problem("personalizations", "There may be at most 1000 recipients in one call."))
    if problems:
        return problems[:_MOST_PROBLEMS]
    return checked._replace(sender=mail["from"]["email"])


def _check_call(mail: dict[str, Any]) -> list[Problem]:
    """Everything but the personalisations."""
    problems = []
    sender = mail.get("from")
    if not isinstance(sender, dict) or not is_address(sender.get("email")):
        problems.append(Problem("from.email", "The from email does not contain a valid address."))
    for field in ("from", "reply_to"):
        if field in mail:
            problems += _check_name(field, mail[field])
    reply_to = mail.get("reply_to")
    if reply_to is not None and not (isinstance(reply_to, dict) and is_address(reply_to.get("email"))):
        problems.append(Problem("reply_to.email", "The reply_to email does not contain a valid address."))
    subject = mail.get("subject")
    if subject is not None and not _text(subject):
        problems.append(Problem("subject", "The subject must be a string at least one character in length."))
    problems += _check_content(mail.get("content"))
    categories = mail.get("categories", [])
    if (
        not isinstance(categories, list)
        or len(categories) > 10
        or not all(isinstance(c, str) and len(c) <= 255 for c in categories)
        or len(set(categories)) != len(categories)
    ):
        problems.append(Problem("categories", "At most 10 different categories of at most 255 characters."))
    if not isinstance(mail.get("custom_args", ""), str | dict):
        problems.append(Problem("custom_args", "custom_args must be a string."))
    if _reserved(mail.get("headers", {})):
        problems.append(Problem("headers", "headers must be strings, and may not override reserved headers."))
    return problems


def _check_content(content: object) -> list[Problem]:
    if not isinstance(content, list) or not content:
        return [Problem("content", "The content field is required: at least one type and value.")]
    problems = []
    for n, part in enumerate(content):
        if not isinstance(part, dict):
            problems.append(Problem(f"content.{n}", "Content must be an object with type and value."))
            continue
        for key in ("type", "value"):
            if not _text(part.get(key)):
                message = f"The content {key} must be a string at least one character in length."
                problems.append(Problem(f"content.{n}.{key}", message))
    return problems


def _check_ours(mail: dict[str, Any]) -> list[Problem]:
    tracking = mail.get("tracking_settings")
    tracking = tracking if isinstance(tracking, dict) else {}
    problems = [
        Problem(f"tracking_settings.{kind}", f"{_OURS}{kind} must be switched off explicitly.")
        for kind in ("click_tracking", "open_tracking")
        if not isinstance(tracking.get(kind), dict)
        or tracking[kind].get("enable") is not False
        or tracking[kind].get("enable_text") is True
    ]
    subscription = tracking.get("subscription_tracking", {})
    if not isinstance(subscription, dict) or subscription.get("enable", False) is not False:
        message = f"{_OURS}subscription_tracking must not be on."
        problems.append(Problem("tracking_settings.subscription_tracking", message))
    return problems


def _check_people(
    people: list[Any], mail: dict[str, Any], checked: CheckedMail, problems: list[Problem]
) -> None:
    headers = mail.get("headers")
    one_click = isinstance(headers, dict) and headers.get("List-Unsubscribe-Post") == _ONE_CLICK
    no_list = len(people) == 1 and not headers  # a code or an answer, to one person
    has_subject = "subject" in mail
    seen: set[str] = set()
    for n, person in enumerate(people):
        if not isinstance(person, dict):
            problems.append(Problem(f"personalizations.{n}", "A personalization must be an object."))
            continue
        addresses = _addresses(n, person, problems)
        for address in addresses:
            lowered = address.lower()
            if lowered in seen:
                problems.append(
                    Problem(
                        f"personalizations.{n}.to",
                        "Each email address should be unique between to, cc, and bcc of the call. "
                        f"We found a duplicate instance of [{address}].",
                    )
                )
            seen.add(lowered)
        args = person.get("custom_args") or {}
        if fault := _fault(person, args, one_click, has_subject, no_list):
            problems.append(Problem(f"personalizations.{n}.{fault.field}", fault.message))
            continue
        ref = args.get(_REF_ARG, "")
        for address in addresses:
            checked.to.append(address)
            checked.refs.append(ref)
            checked.args.append(args)


def _addresses(n: int, person: dict[str, Any], problems: list[Problem]) -> list[str]:
    """Everyone this personalisation writes to; what is wrong goes to ``problems``."""
    to = person.get("to")
    if type(to) is list and len(to) == 1 and len(person) < 5 and "cc" not in person and "bcc" not in person:
        only = to[0]
        if type(only) is dict and len(only) == 1 and is_address(only.get("email")):
            return [only["email"]]  # how nearly every call looks
    found: list[str] = []
    for field in ("to", "cc", "bcc"):
        group = person.get(field, [])
        if not isinstance(group, list) or (field == "to" and not group):
            problems.append(Problem(f"personalizations.{n}.{field}", _BAD_TO))
            continue
        for one in group:
            if not isinstance(one, dict) or not is_address(one.get("email")):
                problems.append(Problem(f"personalizations.{n}.{field}", _BAD_TO))
                continue
            problems += _check_name(f"personalizations.{n}.{field}", one)
            found.append(one["email"])
    return found


def _fault(
    person: dict[str, Any], args: Any, one_click: bool, has_subject: bool, no_list: bool
) -> Problem | None:
    """The first thing wrong with one personalisation besides its addresses."""
    if not isinstance(args, dict) or (size := _size(args)) is None:
        return Problem("custom_args", "custom_args must be an object of strings.")
    if size >= _MAX_ARGS:
        return Problem("custom_args", "custom_args must be less than 10000 bytes.")
    substitutions = person.get("substitutions")
    if substitutions is not None:
        size = _size(substitutions) if isinstance(substitutions, dict) else None
        if size is None:
            return Problem("substitutions", "substitutions must be an object of strings.")
        if size > MAX_SUBSTITUTIONS:
            return Problem(
                "substitutions", "The substitutions may not exceed 10000 bytes per personalization."
            )
    if "subject" in person:
        if not _text(person["subject"]):
            return Problem("subject", "The subject must be a string at least one character in length.")
    elif not has_subject:
        return Problem("subject", "The subject is required, in the call or in each personalization.")
    if "from" in person and not (
        isinstance(person["from"], dict) and is_address(person["from"].get("email"))
    ):
        return Problem("from", "The from email does not contain a valid address.")
    headers = person.get("headers", {})
    link = headers.get("List-Unsubscribe", "") if type(headers) is dict else ""
    if (type(link) is not str or len(headers) != 1 or not link) and _reserved(headers):
        return Problem("headers", "headers must be strings, and may not override reserved headers.")
    if no_list and not headers:
        return None
    if not _UNSUBSCRIBE(link):
        return Problem("headers", f"{_OURS}List-Unsubscribe with an http address in <> must be present.")
    if not one_click and headers.get("List-Unsubscribe-Post") != _ONE_CLICK:
        return Problem("headers", f"{_OURS}List-Unsubscribe-Post: {_ONE_CLICK} must be present.")
    return None


def _size(strings: dict[str, Any]) -> int | None:
    """Bytes of names and values together; None unless all are strings. Exact only near the limits."""
    try:
        text = "".join(strings) + "".join(strings.values())
    except TypeError:
        return None
    return len(text) if len(text) < _SURELY_SMALL or text.isascii() else len(text.encode())


def _reserved(headers: Any) -> bool:
    return (
        not isinstance(headers, dict)
        or not {type(v) for v in headers.values()} <= _STRINGS
        or not _RESERVED.isdisjoint([name.lower() for name in headers])
    )


def _check_name(field: str, who: Any) -> list[Problem]:
    name = who.get("name") if isinstance(who, dict) else None
    if name is None:
        return []
    if not isinstance(name, str) or ";" in name or "," in name:
        return [Problem(f"{field}.name", "A name must be a string without semicolons and commas.")]
    return []


def _text(value: object) -> bool:
    return isinstance(value, str) and bool(value)
