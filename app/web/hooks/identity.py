"""An identity provider ends sessions: OpenID Connect Back-Channel Logout 1.0. The token that it signs is its word."""

from __future__ import annotations

import structlog
from flask import Blueprint, Response, jsonify, make_response

from app.db import utc_now
from app.services.oidc import discovery, leaving, providers, tokens
from app.services.oidc.refusals import Refused
from app.web import context, guards, origin
from app.web.hooks import body

log = structlog.get_logger(__name__)
hooks = Blueprint("identity", __name__)


@hooks.route("/hooks/identity/<slug>", methods=["POST"])
@guards.signed
def logout(slug: str) -> Response:
    """200 when the sessions are over, or were; 400 when the token is not believed, as the standard has it."""
    form = body.as_form(body.read())
    with context.transaction() as db:
        provider = providers.of_slug(db, slug)
    now = utc_now()
    try:
        metadata = discovery.of(provider.issuer, sandbox=context.fictional())
        claims = tokens.logout(
            form.get("logout_token"),
            metadata,
            provider.client_id,
            sandbox=context.fictional(),
            now=int(now.timestamp()),
        )
    except Refused as refusal:
        organisation = str(provider.organisation_id)
        log.warning("oidc_logout_refused", organisation=organisation, code=refusal.code, why=refusal.why)
        return make_response(jsonify(error="invalid_request"), 400)
    with context.transaction() as db:
        leaving.end(db, provider, claims, origin=origin.network(), now=now)
    return make_response("", 200)
