"""The frame of every page: templates, the GOV.UK components, and what all templates may ask for."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from flask import Flask
from jinja2 import BytecodeCache, ChoiceLoader, FileSystemLoader, PackageLoader, PrefixLoader
from jinja2.bccache import Bucket

from app.services import terms
from app.web import csrf, navigation, session
from app.web.assets import PROJECT

LONDON = ZoneInfo("Europe/London")
_COMPONENTS = "govuk_frontend_jinja"


class _Compiled(BytecodeCache):
    """What was compiled in this process, by the template's name and source: another app need not do it again."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


def install(app: Flask) -> None:
    """Our templates, with the components below their own prefix."""
    app.jinja_loader = ChoiceLoader(
        [
            FileSystemLoader(PROJECT / "app" / "web" / "templates"),
            PrefixLoader({_COMPONENTS: PackageLoader(_COMPONENTS)}),
        ]
    )
    environment = app.jinja_env
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.bytecode_cache = _COMPILED
    environment.globals.update(form_token=csrf.field, visitor=session.visitor)
    environment.globals.update(may=navigation.may, menu=navigation.menu)
    environment.filters.update(day=day, moment=moment, iso=iso, thousands=thousands, counted=counted)
    environment.filters.update(last_day=terms.last_day, date=terms.date)


def warm(app: Flask) -> None:
    """Compile every template of ours, and so every component it uses, before gunicorn forks."""
    for name in app.jinja_env.list_templates(filter_func=lambda name: not name.startswith(_COMPONENTS)):
        app.jinja_env.get_template(name)


def day(at: datetime) -> str:
    """“3 June 2026”, in London."""
    here = at.astimezone(LONDON)
    return f"{here.day} {here:%B %Y}"


def moment(at: datetime) -> str:
    """“3 June 2026 at 4:05pm”, in London."""
    here = at.astimezone(LONDON)
    hour = here.hour % 12 or 12
    return f"{day(at)} at {hour}:{here:%M}{'am' if here.hour < 12 else 'pm'}"


def iso(at: datetime) -> str:
    """For machines: the ``datetime`` of a ``<time>``."""
    return at.astimezone(LONDON).isoformat(timespec="minutes")


def thousands(number: int) -> str:
    return f"{number:,}"


def counted(number: int, one: str, many: str | None = None) -> str:
    """“1 person”, “1,204 people”."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
