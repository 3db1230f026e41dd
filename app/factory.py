"""The only place that assembles the web app."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from app import logs
from app.registry import Registry, open_registry
from app.web import context, envelope, errors, frame, guards, health, intake, metrics, static_files
from app.web.admin import organisation, record, retention, roles, staff, status, teams
from app.web.hooks import desk, identity, sendgrid, twilio
from app.web.investigator import board, lifts, requests, search
from app.web.officer import (
    account,
    compose,
    door,
    inbox,
    invitation,
    misuse,
    oidc,
    passkeys,
    progress,
    sign_in,
    step_up,
)
from app.web.public import about, alerts, area, figures, security, ward
from app.web.resident import (
    camera_answer,
    cameras,
    keep,
    leave,
    manage,
    my_camera,
    my_cameras,
    reply,
    subscribe,
)
from app.web.steward import findings, home, reviews, withholding
from config.fields import Part

LARGEST_REQUEST = 64 * 1024  # bytes; the webhooks allow themselves more

PARTS = (
    *(health.pages, metrics.pages, twilio.hooks, sendgrid.hooks),
    *(ward.pages, area.pages, alerts.pages, about.pages, security.pages),
    *(figures.pages, findings.pages, reviews.pages, withholding.pages, home.pages),
    *(subscribe.pages, manage.pages, leave.pages, reply.pages, camera_answer.pages),
    *(cameras.pages, my_cameras.pages, my_camera.pages, keep.pages, door.pages),
    *(search.pages, lifts.pages, requests.pages, board.pages),
    *(oidc.pages, identity.hooks),
    *(sign_in.pages, invitation.pages, step_up.pages, account.pages, passkeys.pages),
    *(compose.pages, progress.pages, inbox.pages, misuse.pages),
    *(staff.pages, roles.pages, teams.pages, organisation.pages, record.pages, retention.pages, status.pages),
)


def create_app(registry: Registry | None = None) -> Flask:
    """The site. Without a registry it opens one from the environment: SettingsError or EmbeddedError
    say what is wrong with that.
    """
    if registry is None:
        registry = open_registry(part=Part.APP)
        logs.set_up(registry.settings.log_level, registry.settings.log_format)
    app = Flask("app.web", static_folder=None)
    app.config.update(
        DEBUG=False,
        MAX_CONTENT_LENGTH=LARGEST_REQUEST,
        MAX_FORM_MEMORY_SIZE=LARGEST_REQUEST,
        MAX_FORM_PARTS=1_000,
        PREFERRED_URL_SCHEME=urlsplit(registry.settings.public_url).scheme,
    )
    # A path with two slashes would be answered by a redirect made from whatever Host was sent.
    app.url_map.merge_slashes = False
    context.install(app, registry)
    desk.install(app, registry)
    static_files.install(app)
    frame.install(app)
    envelope.install(app, registry.settings)
    intake.install(app)
    guards.install(app)
    errors.install(app)
    if registry.settings.proxies:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=registry.settings.proxies, x_proto=0, x_host=0, x_port=0, x_prefix=0
        )
    for part in PARTS:
        app.register_blueprint(part)
    frame.warm(app)
    return app
