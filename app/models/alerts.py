"""Alerts: what a team issues. Editable until sent; what was sent is kept with the dispatch."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, new_id

KINDS = ("alert", "appeal", "missing", "advice", "event", "outcome", "survey", "partner briefing")
# What asks people for information: these carry a reply link, and replies to them are expected.
REPLIABLE = frozenset({"appeal", "missing"})
URGENCIES = ("risk-to-life", "urgent", "routine")
TOPICS = ("incidents and appeals", "missing people", "prevention", "events", "outcomes")


def _one_of(column: str, values: tuple[str, ...]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{v}'" for v in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=column)


class Alert(Base):
    __tablename__ = "alerts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    reference: Mapped[str] = mapped_column(unique=True)  # "WL-7K3F9Q", printed in every message
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    team_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("teams.id"))  # whose inbox the replies land in
    kind: Mapped[str]
    urgency: Mapped[str]
    topic: Mapped[str]
    language: Mapped[str] = mapped_column(server_default="en")
    headline: Mapped[str]
    body: Mapped[str]
    what_to_do: Mapped[str] = mapped_column(server_default="")
    how_to_tell: Mapped[str] = mapped_column(server_default="")  # how to tell us: shown beside the reply link
    sms_text: Mapped[str] = mapped_column(server_default="")
    channels: Mapped[list[str]] = mapped_column(ARRAY(sa.Text))
    audience: Mapped[dict[str, Any]] = mapped_column(JSONB)
    restricted: Mapped[bool] = mapped_column(server_default=sa.false())
    state: Mapped[str] = mapped_column(server_default="draft")
    expires_at: Mapped[datetime | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    sent_at: Mapped[datetime | None]

    __table_args__ = (
        _one_of("kind", KINDS),
        _one_of("urgency", URGENCIES),
        _one_of("topic", TOPICS),
        _one_of("state", ("draft", "sent")),
        # An organisation's drafts and sent alerts, the newest first.
        sa.Index("ix_alerts_list", "controller_id", "state", "changed_at", "id"),
    )


class AlertArea(Base):
    """An area that a public alert was sent to: what ward and borough pages and feeds list.

    Written when the alert is first sent, never for a restricted one or an exercise.
    """

    __tablename__ = "alert_areas"

    alert_id: Mapped[UUID] = mapped_column(sa.ForeignKey("alerts.id"), primary_key=True)
    area_id: Mapped[int] = mapped_column(sa.ForeignKey("areas.id"), primary_key=True)
    sent_at: Mapped[datetime]

    __table_args__ = (sa.Index("ix_alert_areas_list", "area_id", "sent_at", "alert_id"),)
