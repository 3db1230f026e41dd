"""Where a request comes from: its network for the record and for limits, never one machine's address."""

from __future__ import annotations

from ipaddress import ip_address

from flask import request

from app.audit.record import network_prefix
from app.services.sessions import Whereabouts
from app.web import browsers


def network() -> str:
    """The caller's network, for the record; ``web`` where only our own proxy's address is to be seen."""
    address = request.remote_addr or ""
    try:
        return "web" if ip_address(address).is_private else network_prefix(address)
    except ValueError:
        return "web"


def neighbours() -> str:
    """The same as a key of limits: callers that cannot be told apart share one."""
    try:
        return network_prefix(request.remote_addr or "")
    except ValueError:
        return "unknown"


def whereabouts() -> Whereabouts:
    """Where the caller is, for whatever is asked of that."""
    return Whereabouts(neighbours(), network(), browsers.words(request.user_agent.string))
