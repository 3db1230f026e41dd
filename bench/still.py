"""The site with one more page, which only the benchmark serves: the layout around words that never change.

``gunicorn "bench.still:create()"``. The words are the contents of a ward page, read once from the file that
``BENCH_STILL`` names: both pages are of the same size and differ by the work behind them alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from flask import Flask, render_template
from jinja2 import ChoiceLoader, DictLoader

from app.factory import create_app
from app.web import guards

PATH = "/still"
_NAME = "bench/still.html"


def template(content: str) -> str:
    """A template on the site's layout, with ``content`` as it is."""
    words = content.replace("{% endraw %}", "")
    return (
        '{% extends "layout.html" %}{% set section = "ward" %}{% block title %}The same words{% endblock %}'
        "{% block content %}{% raw %}" + words + "{% endraw %}{% endblock %}"
    )


def add(site: Flask, content: str) -> None:
    """Serve the page from ``site``."""
    loader = site.jinja_loader
    assert loader is not None
    site.jinja_loader = ChoiceLoader([loader, DictLoader({_NAME: template(content)})])

    @site.get(PATH)
    @guards.anyone
    def still() -> str:
        return render_template(_NAME)

    site.jinja_env.get_template(_NAME)


def create() -> Flask:
    """The site and the page, from the environment."""
    site = create_app()
    add(site, Path(os.environ["BENCH_STILL"]).read_text(encoding="utf-8"))
    return site
