"""From an officer's words to what a batch sends, compiled once; per person only substitutions.

The places that differ per person are tags made from a random ``nonce`` of the dispatch
(``[[stop:9f31ab…]]``), so that neither an officer nor somebody's name can write one by
accident or on purpose. What is compiled here is frozen with the dispatch: the legal record.
"""

from __future__ import annotations

import re
import unicodedata
from html import escape

from messaging import gsm7, markdown, placeholders
from messaging.templates import EMAIL_HTML, EMAIL_TEXT
from messaging.types import EmailContent

DEFAULT_NAME = "neighbour"
# In a text a name must neither change the alphabet nor add a segment that nobody reckoned with.
LONGEST_NAME_IN_TEXT = 20
WIDEST_NAME = "n" * LONGEST_NAME_IN_TEXT
LONGEST_NAME = 60

# What stands for a name while Markdown is rendered: letters and digits pass it unchanged.
_STAND_IN = "wlname{nonce}wlname"
_NONCE = re.compile(r"[0-9a-z]{6,64}")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_RIGHT_TO_LEFT = frozenset({"ar", "ckb", "dv", "fa", "he", "ps", "sd", "ug", "ur", "yi"})
_BREAKS = frozenset({"Cc", "Cs", "Zl", "Zp", "Zs"})
_TURNS_TEXT = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_SMS_PLACE = re.compile(r"\{(stop|name|reply|camera)\}")
# How a text says what can be done: to a number that takes answers, and from a sender that takes none.
_STOP_BY_TEXT, _STOP_BY_LINK = "Text STOP to end", "Stop: {stop}"
_TELL_BY_TEXT, _TELL_BY_LINK = "Reply to this text or tell us: {reply}", "Tell us: {reply}"


class RenderError(ValueError):
    """The content cannot be compiled. ``code``: empty, language, placeholder-in-link, braces,
    or one of a placeholder's.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Tags:
    """The substitution tags of one dispatch: ``stop``, ``manage``, ``reply``, ``camera``, ``name_text``, ``name_html``.

    ``nonce``: 6 to 64 lower-case letters and digits, random; use 12 hex digits or more.
    """

    __slots__ = ("camera", "manage", "name_html", "name_text", "reply", "stop")

    def __init__(self, nonce: str) -> None:
        if not _NONCE.fullmatch(nonce):
            raise ValueError("a nonce is 6 to 64 lower-case letters and digits")
        self.stop = f"[[stop:{nonce}]]"
        self.manage = f"[[manage:{nonce}]]"
        self.reply = f"[[reply:{nonce}]]"
        self.camera = f"[[camera:{nonce}]]"
        self.name_text = f"[[name:{nonce}]]"
        self.name_html = f"[[name-html:{nonce}]]"


def substitutions(
    tags: Tags,
    stop_url: str,
    manage_url: str,
    name: str | None,
    reply_url: str | None = None,
    camera_url: str | None = None,
) -> dict[str, str]:
    """Tag → value for one person. ``name`` None or blank becomes "neighbour".

    ``reply_url`` and ``camera_url`` for content that holds the tag, and for no other: a third link costs time.
    """
    if name and name.isalpha() and len(name) <= LONGEST_NAME:  # nearly every name: nothing to tidy or escape
        shown = marked_up = name
    else:
        shown = tidy_name(name) if name else DEFAULT_NAME
        marked_up = escape(shown)
    values = {
        tags.stop: stop_url,
        tags.manage: manage_url,
        tags.name_text: shown,
        tags.name_html: marked_up,
    }
    if reply_url is not None:
        values[tags.reply] = reply_url
    if camera_url is not None:
        values[tags.camera] = camera_url
    return values


def tidy_name(name: str) -> str:
    """A name fit for a line of an e-mail: one line, nothing invisible that turns text round, ≤ 60."""
    if not name.isprintable():
        name = "".join(" " if unicodedata.category(c) in _BREAKS else c for c in name if c not in _TURNS_TEXT)
    return " ".join(name.split())[:LONGEST_NAME].strip() or DEFAULT_NAME


def compile_email(
    *,
    nonce: str,
    headline: str,
    body_markdown: str,
    what_to_do: str,
    reference: str,
    controller_name: str,
    from_email: str,
    from_name: str,
    language: str = "en",
    reply_to: str | None = None,
    public_url: str = "",
    how_to_tell: str = "",
    reply: bool = False,
) -> EmailContent:
    """One e-mail for a whole batch. Stop, manage and reply links are tags (https URLs without quotes).

    ``headline`` becomes the subject; ``body_markdown``, ``what_to_do`` and ``how_to_tell`` are
    Markdown (the last two may be empty); all four may hold ``((name))``. ``reply``: it asks for
    information, so it carries each person's reply link. ``language``: BCP 47.
    RenderError for an empty headline or body, a bad placeholder, or one inside a link.
    """
    tags = Tags(nonce)
    if not _LANGUAGE.fullmatch(language):
        raise RenderError("language", "The language is not a language code, like en or cy.")
    title = _one_line(headline)
    if not title or not body_markdown.strip():
        raise RenderError("empty", "An e-mail needs a headline and a text.")
    stand_in = _STAND_IN.format(nonce=nonce)
    title_in, body_in, todo_in, tell_in = (
        _stand_in(t, stand_in) for t in (title, body_markdown, what_to_do, how_to_tell)
    )
    # Nobody is greeted twice: an officer who uses the name has already done it.
    greeting = "" if stand_in in body_in else f"Hello {stand_in},"
    common = {
        "controller": controller_name,
        "reference": reference,
        "stop": tags.stop,
        "manage": tags.manage,
        "reply": tags.reply if reply else "",
        "site": public_url,
        "language": language,
    }
    text = EMAIL_TEXT.render(
        **common,
        headline=title_in,
        greeting=greeting,
        body=markdown.to_text(body_in),
        todo=markdown.to_text(todo_in),
        tell=markdown.to_text(tell_in),
    )
    html = EMAIL_HTML.render(
        **common,
        headline=title_in,
        greeting=greeting,
        body=_html(body_in, stand_in),
        todo=_html(todo_in, stand_in),
        tell=_html(tell_in, stand_in),
        direction="rtl" if language.partition("-")[0] in _RIGHT_TO_LEFT else "ltr",
    )
    return EmailContent(
        from_email=from_email,
        from_name=_one_line(from_name),
        subject=title_in.replace(stand_in, tags.name_text),
        text=text.replace(stand_in, tags.name_text),
        html=html.replace(stand_in, tags.name_html),
        reply_to=reply_to,
    )


def compile_sms(
    sms_text: str, reference: str, controller_name: str, two_way: bool, reply: bool = False
) -> str:
    """One text message for a whole batch: who, what, reference and a short way to stop.

    To a two-way number people can answer STOP; an alphanumeric sender takes no answers, so the
    text ends with ``{stop}``, which :func:`fill_sms` replaces by the person's link, as it does
    ``{reply}`` where ``reply`` says that the message asks for information. ``{name}`` stands for
    ``((name))``. RenderError for an empty text or one that holds such a place itself.
    """
    text = _one_line(sms_text, keep_breaks=True)
    if not text:
        raise RenderError("empty", "A text message needs a text.")
    if _SMS_PLACE.search(text):
        raise RenderError(
            "braces", "Do not write {stop}, {reply}, {camera} or {name}. For a name write ((name))."
        )
    body = _filled(text, "{name}")
    who, ref = (_SMS_PLACE.sub("", _one_line(part)) for part in (controller_name, reference))
    end = _STOP_BY_TEXT if two_way else _STOP_BY_LINK
    if not reply:
        return f"{who}: {body}\nRef {ref}. {end}"
    tell = _TELL_BY_TEXT if two_way else _TELL_BY_LINK
    # A link ends where its line ends, on every phone.
    return f"{who}: {body}\nRef {ref}. {tell}\n{end}"


def compile_camera_sms(reference: str, controller_name: str, two_way: bool) -> str:
    """The text that asks somebody about their camera: a link, and nothing of what it is about."""
    who, ref = (_SMS_PLACE.sub("", _one_line(part)) for part in (controller_name, reference))
    end = _STOP_BY_TEXT if two_way else _STOP_BY_LINK
    return f"{who}: a question about your camera. Please answer here: {{camera}}\nRef {ref}.\n{end}"


def one_way(text: str) -> str:
    """A compiled text as it must read from a sender that takes no answers, whatever it was compiled for."""
    head, _, last = text.rpartition("\n")
    if last.endswith(_STOP_BY_TEXT):
        last = last.removesuffix(_STOP_BY_TEXT) + _STOP_BY_LINK
    if head.endswith(_TELL_BY_TEXT):
        head = head.removesuffix(_TELL_BY_TEXT) + _TELL_BY_LINK
    return f"{head}\n{last}"


def fill_sms(
    body: str, *, stop_url: str = "", name: str | None = None, reply_url: str = "", camera_url: str = ""
) -> str:
    """A compiled text for one person. Values are put in once: a name that reads "{stop}" stays text.

    A name of more than 20 characters, or that would change the alphabet of the text, is left out.
    """
    if "{" not in body:
        return body
    values = {"stop": stop_url, "reply": reply_url, "camera": camera_url, "name": _name_in_text(name)}
    return _SMS_PLACE.sub(lambda place: values[place[1]], body)


def _name_in_text(name: str | None) -> str:
    shown = tidy_name(name) if name else DEFAULT_NAME
    fits = len(shown) <= LONGEST_NAME_IN_TEXT and all(c in gsm7.BASIC for c in shown)
    return shown if fits else DEFAULT_NAME


def _filled(text: str, value: str) -> str:
    try:
        return placeholders.parse(text).fill(lambda _: value)
    except placeholders.PlaceholderError as error:
        raise RenderError(error.code, error.message) from None


def _stand_in(text: str, stand_in: str) -> str:
    # With 24 random bits or more nobody writes this word; if it happens, it is not a name.
    return _filled(text.replace(stand_in, ""), stand_in)


def _html(text: str, stand_in: str) -> str:
    html = markdown.to_html(text)
    if re.search(rf'href="[^"]*{stand_in}', html):
        raise RenderError("placeholder-in-link", "The address of a link cannot hold ((name)).")
    return html


def _one_line(text: str, *, keep_breaks: bool = False) -> str:
    lines = (" ".join(line.split()) for line in text.splitlines())
    return ("\n" if keep_breaks else " ").join(lines).strip()
