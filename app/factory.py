"""The only place that assembles the web app."""

from __future__ import annotations

from flask import Flask

from app import logs
from app.registry import Registry, open_registry
from app.web import context, envelope, errors, health
from app.web.hooks import sendgrid, twilio
from app.web.public import ward
from app.web.resident import leave
from config.fields import Part

LARGEST_REQUEST = 64 * 1024  # bytes; the webhooks allow themselves more


def create_app(registry: Registry | None = None) -> Flask:
    """The site. Without a registry it opens one from the environment: SettingsError or EmbeddedError
    say what is wrong with that.
    """
    if registry is None:
        registry = open_registry(part=Part.APP)
        logs.set_up(registry.settings.log_level, registry.settings.log_format)
    app = Flask("app.web")
    app.config.update(
        DEBUG=False,
        MAX_CONTENT_LENGTH=LARGEST_REQUEST,
        MAX_FORM_MEMORY_SIZE=LARGEST_REQUEST,
        MAX_FORM_PARTS=100,
        SEND_FILE_MAX_AGE_DEFAULT=3600,
    )
    # A path with two slashes would be answered by a redirect made from whatever Host was sent.
    app.url_map.merge_slashes = False
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    context.install(app, registry)
    envelope.install(app, registry.settings)
    errors.install(app)
    for part in (health.pages, twilio.hooks, sendgrid.hooks, leave.pages, ward.pages):
        app.register_blueprint(part)
    # Compiled once, before gunicorn forks: the workers share them.
    for name in app.jinja_env.list_templates():
        app.jinja_env.get_template(name)
    return app
