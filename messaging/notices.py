"""Messages to one person that are no alerts: a code, an invitation, an answer. Plain text and HTML say the same.

They look like the alerts (messaging.templates): one column, system fonts, no images, nothing fetched from anywhere
and nobody watched. Every value is escaped here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup, escape

_SPACE = re.compile(r"\s+")
_ADDRESS = re.compile(r"https?://[^\s<>\"']*[^\s<>\"'.,;:!?)]")
LONGEST_SUBJECT = 200


@dataclass(frozen=True, slots=True)
class Notice:
    """An e-mail to one person, complete: no tags to fill."""

    subject: str
    text: str
    html: str


def _template(source: str, *, escaped: bool) -> Template:
    environment = Environment(
        autoescape=escaped,  # noqa: S701  plain text is not HTML
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(source)


_TEXT = _template(
    """\
{{ subject }}
{{ '=' * [subject|length, 60]|min }}

{% for paragraph in paragraphs %}
{{ paragraph }}

{% endfor %}
{% if button %}
{{ button[0] }}:
{{ button[1] }}

{% endif %}
--
{% for line in closing %}
{{ line }}
{% endfor %}
{{ controller }} sent you this through Wardlink.
""",
    escaped=False,
)

_HTML = _template(
    """\
<!DOCTYPE html>
<html lang="en" dir="ltr">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ subject }}</title>
</head>
<body style="margin:0;padding:16px;font:18px/1.5 Arial,Helvetica,sans-serif">
<div style="max-width:38em;margin:0 auto">
<h1 style="font-size:26px;line-height:1.25;margin:0 0 16px">{{ subject }}</h1>
{% for paragraph in paragraphs %}
<p>{{ paragraph }}</p>
{% endfor %}
{% if button %}
<p><a href="{{ button[1] }}" rel="noreferrer" style="display:inline-block;padding:12px 20px;\
background:#0b4f4a;color:#ffffff;font-weight:bold;text-decoration:none;border-radius:4px">{{ button[0] }}</a></p>
<p style="font-size:16px;overflow-wrap:anywhere">If the button does not work, copy this address into your browser: \
{{ button[1] }}</p>
{% endif %}
<hr style="border:0;border-top:1px solid #767676;margin:24px 0 16px">
{% for line in closing %}
<p style="font-size:16px;overflow-wrap:anywhere">{{ line }}</p>
{% endfor %}
<p style="font-size:16px">{{ controller }} sent you this through Wardlink.</p>
</div>
</body>
</html>
""",
    escaped=True,
)


def notice(
    subject: str,
    paragraphs: Sequence[str],
    *,
    button: tuple[str, str] | None,
    controller_name: str,
    closing: Sequence[str | tuple[str, str]] = (),
) -> Notice:
    """An e-mail in plain text and HTML. ``button``: label and http(s) address. ValueError for another address.

    Lines of ``closing`` are ours: an address in one becomes a link, and (label, address) is a link by its name.
    Paragraphs may hold what people wrote, so nothing in them becomes a link; their line breaks stay.
    """
    links = [button] if button else []
    links += [line for line in closing if isinstance(line, tuple)]
    for _, url in links:
        if not _ADDRESS.fullmatch(url):
            raise ValueError("a link in a message is an http address")
    title = _SPACE.sub(" ", subject).strip()[:LONGEST_SUBJECT]
    said = [p.strip() for p in paragraphs if p.strip()]
    text = _TEXT.render(
        subject=title,
        paragraphs=said,
        button=button,
        closing=[line if isinstance(line, str) else f"{line[0]}: {line[1]}" for line in closing],
        controller=controller_name,
    )
    html = _HTML.render(
        subject=title,
        paragraphs=[Markup("<br>\n").join(p.splitlines()) for p in said],
        button=button,
        closing=[_linked(line) if isinstance(line, str) else _link(*line) for line in closing],
        controller=controller_name,
    )
    return Notice(title, text, html)


def _link(label: str, url: str) -> Markup:
    return Markup('<a href="{}" rel="noreferrer">{}</a>').format(url, label)


def _linked(line: str) -> Markup:
    """One of our lines with its addresses as links."""
    done, last = Markup(), 0
    for found in _ADDRESS.finditer(line):
        done += escape(line[last : found.start()]) + _link(found[0], found[0])
        last = found.end()
    return done + escape(line[last:])
