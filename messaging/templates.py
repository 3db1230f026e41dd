"""The frame around every e-mail: who sent it, why, and how to change or stop it.

Simple on purpose: one column, system fonts, no images, nothing fetched from anywhere, headings
in order, links that say where they go. ``body``, ``todo`` and ``tell`` arrive as safe HTML;
all other values are escaped here.
"""

from __future__ import annotations

from jinja2 import Environment, StrictUndefined, Template


def _template(source: str, *, escaped: bool) -> Template:
    # Plain text is not escaped: it is no HTML.
    environment = Environment(
        autoescape=escaped,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.from_string(source)


EMAIL_TEXT = _template(
    """\
{{ headline }}
{{ '=' * [headline|length, 60]|min }}

{% if greeting %}
{{ greeting }}

{% endif %}
{{ body }}
{% if todo %}

WHAT YOU CAN DO

{{ todo }}
{% endif %}
{% if tell or reply %}

HOW TO TELL US

{% if tell %}
{{ tell }}
{% endif %}
{% if tell and reply %}

{% endif %}
{% if reply %}
Tell us what you know: {{ reply }}
Nobody watches replies all the time. In an emergency call 999.
{% endif %}
{% endif %}

--
{{ controller }} sent you this because you asked for alerts about your area.
Reference: {{ reference }}
Change what you get: {{ manage }}
Stop these e-mails: {{ stop }}
{% if site %}
About this service: {{ site }}
{% endif %}
""",
    escaped=False,
)

EMAIL_HTML = _template(
    """\
<!DOCTYPE html>
<html lang="{{ language }}" dir="{{ direction }}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{ headline }}</title>
</head>
<body style="margin:0;padding:16px;font:18px/1.5 Arial,Helvetica,sans-serif">
<div style="max-width:38em;margin:0 auto">
<h1 style="font-size:26px;line-height:1.25;margin:0 0 16px">{{ headline }}</h1>
{% if greeting %}
<p>{{ greeting }}</p>
{% endif %}
{{ body|safe }}
{% if todo %}
<h2>What you can do</h2>
{{ todo|safe }}
{% endif %}
{% if tell or reply %}
<h2>How to tell us</h2>
{% if tell %}
{{ tell|safe }}
{% endif %}
{% if reply %}
<p><strong><a href="{{ reply }}" rel="noreferrer">Tell us what you know</a></strong></p>
<p>Nobody watches replies all the time. In an emergency call 999.</p>
{% endif %}
{% endif %}
<hr style="border:0;border-top:1px solid #767676;margin:24px 0 16px">
<p style="font-size:16px">{{ controller }} sent you this because you asked for alerts about your area.<br>
Reference: {{ reference }}</p>
<p style="font-size:16px"><a href="{{ manage }}" rel="noreferrer">Change what you get</a><br>
<a href="{{ stop }}" rel="noreferrer">Stop these e-mails</a></p>
{% if site %}
<p style="font-size:16px"><a href="{{ site }}" rel="noreferrer">About this service</a></p>
{% endif %}
</div>
</body>
</html>
""",
    escaped=True,
)
