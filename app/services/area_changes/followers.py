"""What follows when areas end: every table that points to an area, each with how it goes on and how it goes back.

A feature that brings a table of its own adds a line to ``LINKS`` if its rows are *owner × area*, else two functions to
``FOLLOWERS``, or its reason to ``APART``. A test compares them with the database's foreign keys.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from app.services.area_changes import drafts, grants
from app.services.area_changes.links import Link

__all__ = ["APART", "FOLLOWERS", "LINKS", "Follower"]

# (session, plan, now) → how many rows followed. At that moment a plan's areas stand in area_plan_areas ('ended',
# 'begun'), and area_successors says what became of those that ended: at a reversal, of those that had begun.
Act = Callable[[Session, UUID, datetime], int]


@dataclass(frozen=True, slots=True)
class Follower:
    """One table, or a part of one, that follows."""

    table: str
    apply: Act
    reverse: Act


LINKS = (
    Link("team_areas", ("team_id",)),
    Link("group_roles", ("organisation_id", "group_name", "role"), made="id"),
    # An alert stays on the page of where it was sent; whoever lives there now finds it on theirs as well.
    Link("alert_areas", ("alert_id",), carried=("sent_at",), keeps=True),
)
FOLLOWERS = (
    Follower("role_grants", grants.apply, grants.reverse),
    *(Follower(one.table, one.apply, one.reverse) for one in LINKS),
    Follower("alerts", drafts.apply, drafts.reverse),
)
# Tables with a foreign key to areas that follow in another way, or must not.
APART = {
    "areas": "what lies below an area that ends is moved by the plan itself",
    "area_successors": "says what became of what",
    "place_areas": "where everybody goes is reckoned place by place",
    "area_shapes": "an outline ends with its area",
    "area_plan_areas": "the journal of plans",
    "area_moves": "the journal of plans",
}
