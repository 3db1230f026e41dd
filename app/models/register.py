"""The register of cameras: owners, what they opted in with, searches, requests and disclosures.

Neither the app nor a worker has a right on what says where a camera is or whose it is: they reach it by the functions
of the schema ``register`` alone, which put every look on the record before it happens (``migrations/register_sql.py``).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

from app.db import Base, EncryptedText, GridPoint, Pt, new_id
from app.models.area_changes import GridPolygon, Outline
from app.models.people import ADDRESS_PURPOSE

KINDS = ("doorbell", "fixed", "ptz", "dash-cam", "business")
COVERS = ("own-land", "street", "shared")
SHAPES = ("radius", "area", "route", "view")
PURPOSES = ("prevention", "investigation", "detection", "prosecution", "safeguarding")
CAPS = ("area", "window", "requests")
ANSWERS = ("have-it", "have-not", "overwritten", "call-me", "not-again")
ACTS = ("own", "board", "schedule", "door", "answer")


def _among(name: str, values: tuple[str, ...]) -> str:
    return f"{name} IN ({', '.join(map(repr, values))})"


class GridPath(UserDefinedType[Outline]):
    """PostgreSQL's own ``path`` of grid metres, open: the corners of a route."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "PATH"

    def bind_processor(self, dialect: sa.Dialect) -> Any:
        return lambda v: None if v is None else "[" + ",".join(f"({x!r},{y!r})" for x, y in v) + "]"

    def bind_expression(self, bindvalue: Any) -> Any:
        return sa.cast(bindvalue, self)

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        def read(value: str | None) -> Outline | None:
            if value is None:
                return None
            numbers = [float(one) for one in value.strip("[]").replace("(", "").replace(")", "").split(",")]
            return list(zip(numbers[::2], numbers[1::2], strict=True))

        return read


class Xid8(UserDefinedType[str]):
    """PostgreSQL's ``xid8``: which transaction, for as long as the cluster lives."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "XID8"


ischema_names["path"] = GridPath
ischema_names["xid8"] = Xid8


class CameraOwner(Base):
    """Somebody who opted in with a camera, under one controller. Goes with the contact point."""

    __tablename__ = "camera_owners"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    contact_id: Mapped[int] = mapped_column(sa.ForeignKey("contact_points.id", ondelete="CASCADE"))
    # Reminders go by the other channel when the first stays silent.
    other_contact_id: Mapped[int | None] = mapped_column(
        sa.ForeignKey("contact_points.id", ondelete="SET NULL"), index=True
    )
    kind: Mapped[str] = mapped_column(server_default="home")
    name: Mapped[str] = mapped_column("name_enc", EncryptedText("camera_owners.name"))
    reach_how: Mapped[str] = mapped_column(server_default="link")
    reach_when: Mapped[str] = mapped_column(server_default="any")
    state: Mapped[str] = mapped_column(server_default="pending")
    confirmed_at: Mapped[datetime | None]
    renew_by: Mapped[datetime | None] = mapped_column(index=True)
    # How many of the two reminders of a year went, and when the last did: nobody goes without having been asked.
    reminded: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    reminded_at: Mapped[datetime | None]
    paused_until: Mapped[datetime | None] = mapped_column(index=True)
    added_by: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id", ondelete="SET NULL"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (
        sa.UniqueConstraint("contact_id", "controller_id"),
        sa.CheckConstraint("kind IN ('home', 'business', 'other')", name="kind"),
        sa.CheckConstraint("reach_how IN ('link', 'phone', 'visit')", name="reach_how"),
        sa.CheckConstraint("reach_when IN ('any', 'day', 'evening', 'weekend')", name="reach_when"),
        sa.CheckConstraint("state IN ('pending', 'active', 'paused', 'left')", name="state"),
        sa.CheckConstraint("state NOT IN ('active', 'paused') OR confirmed_at IS NOT NULL", name="confirmed"),
    )


class Camera(Base):
    """One camera: where it is, what it sees (``sector`` holds that, slightly more), how long it keeps footage.

    ``bearing``: degrees clockwise from grid north; ``field``: degrees; ``reach``: metres; ``height``: centimetres.
    ``live``: it may be matched by a search, which its owner's state and its own say together.
    """

    __tablename__ = "cameras"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    owner_id: Mapped[UUID] = mapped_column(sa.ForeignKey("camera_owners.id", ondelete="CASCADE"), index=True)
    # Its owner's, put there by a trigger: a search finds the cameras of one controller from one index.
    controller_id: Mapped[UUID]
    kind: Mapped[str]
    postcode: Mapped[str]
    at: Mapped[Pt] = mapped_column(GridPoint)
    bearing: Mapped[int] = mapped_column(sa.SmallInteger)
    field: Mapped[int] = mapped_column(sa.SmallInteger)
    reach: Mapped[int] = mapped_column(sa.SmallInteger)
    sector: Mapped[Outline] = mapped_column(GridPolygon)
    height: Mapped[int | None] = mapped_column(sa.SmallInteger)
    night: Mapped[bool] = mapped_column(server_default=sa.false())
    audio: Mapped[bool] = mapped_column(server_default=sa.false())
    covers: Mapped[str] = mapped_column(server_default="own-land")
    days_kept: Mapped[int] = mapped_column(sa.SmallInteger)
    cell_id: Mapped[int]
    ward_code: Mapped[str]
    label: Mapped[str | None] = mapped_column("label_enc", EncryptedText("cameras.label"))
    paused: Mapped[bool] = mapped_column(server_default=sa.false())
    live: Mapped[bool] = mapped_column(server_default=sa.false())
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    changed_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (
        sa.CheckConstraint(_among("kind", KINDS), name="kind"),
        sa.CheckConstraint(_among("covers", COVERS), name="covers"),
        sa.CheckConstraint("bearing BETWEEN 0 AND 359", name="bearing"),
        sa.CheckConstraint("field BETWEEN 1 AND 360", name="field"),
        sa.CheckConstraint("reach BETWEEN 1 AND 300", name="reach"),
        sa.CheckConstraint("days_kept BETWEEN 0 AND 366", name="days_kept"),
        # What a blind answer reads, without the table: the cameras of a cell and their facts.
        sa.Index(
            "ix_cameras_cell",
            "controller_id",
            "cell_id",
            postgresql_include=["bearing", "field", "reach", "kind", "days_kept", "night"],
            postgresql_where=sa.text("live"),
        ),
        sa.Index("ix_cameras_at", "at", postgresql_using="gist", postgresql_where=sa.text("live")),
        sa.Index("ix_cameras_sector", "sector", postgresql_using="gist", postgresql_where=sa.text("live")),
    )


class CameraDraft(Base):
    """A camera that somebody typed in and whose owner has not proved their address yet. Goes with the sign-up.

    Opens to nobody but whoever proves the address; ``staff_id``: who typed it in at the owner's door.
    """

    __tablename__ = "camera_drafts"

    signup_id: Mapped[UUID] = mapped_column(sa.ForeignKey("signups.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str]
    # Bound to the column that it is moved to as it is.
    name: Mapped[str] = mapped_column("name_enc", EncryptedText("camera_owners.name"))
    reach_how: Mapped[str]
    reach_when: Mapped[str]
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    label: Mapped[str | None] = mapped_column("label_enc", EncryptedText("cameras.label"))
    staff_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id", ondelete="SET NULL"), index=True)


class RegisterSetting(Base):
    """How an organisation's investigators name a case, and where an owner hands footage over.

    ``portal_url``: with ``{reference}`` and ``{request}`` in it; ``show_after``: how long a search stays unseen by the
    owners whom it touched.
    """

    __tablename__ = "register_settings"

    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), primary_key=True)
    case_pattern: Mapped[str] = mapped_column(server_default="^[A-Z0-9][A-Z0-9/-]{3,39}$")
    case_example: Mapped[str] = mapped_column(server_default="1234567/26")
    portal_name: Mapped[str | None]
    portal_url: Mapped[str | None]
    show_after: Mapped[timedelta] = mapped_column(sa.Interval, server_default="28 days")

    __table_args__ = (
        sa.CheckConstraint("(portal_name IS NULL) = (portal_url IS NULL)", name="portal"),
        sa.CheckConstraint("show_after BETWEEN interval '0' AND interval '1 year'", name="show_after"),
    )


class Investigation(Base):
    """A case that was searched for, by its reference: everything asked for it is on one board."""

    __tablename__ = "investigations"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    reference: Mapped[str]
    opened_by: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id"), index=True)
    opened_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    closed_at: Mapped[datetime | None]

    __table_args__ = (
        sa.UniqueConstraint("organisation_id", "reference"),
        sa.Index("ix_investigations_listed", "organisation_id", "opened_at", "id"),
    )


class RegisterLift(Base):
    """A supervisor's leave to go beyond one cap, once."""

    __tablename__ = "register_lifts"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id"), index=True)
    investigation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("investigations.id"), index=True)
    cap: Mapped[str]
    reason: Mapped[str]
    given_by: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id"), index=True)
    given_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (
        sa.CheckConstraint(_among("cap", CAPS), name="cap"),
        sa.CheckConstraint("given_by <> staff_id", name="other"),
        sa.Index("ix_register_lifts_listed", "organisation_id", "given_at", "id"),
    )


class RegisterSearch(Base):
    """A search, and the ticket to its answer. ``cells``: those it touched, by which owners learn of it.

    ``number``: of the ticket; ``opened_xid``: the transaction that put it on the record, which must have been
    committed before the answer is given. Written by functions alone; never changed but for how the ticket ended
    (``settled`` without ``lapsed_at``: it was used).
    """

    __tablename__ = "register_searches"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    entry_id: Mapped[int] = mapped_column(sa.BigInteger, unique=True)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id"))
    investigation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("investigations.id"))
    purpose: Mapped[str]
    reason: Mapped[str] = mapped_column("reason_enc", EncryptedText("register_searches.reason"))
    kind: Mapped[str]
    centre: Mapped[Pt | None] = mapped_column(GridPoint)
    radius: Mapped[float | None] = mapped_column(sa.Double)
    outline: Mapped[Outline | None] = mapped_column(GridPolygon)
    route: Mapped[Outline | None] = mapped_column(GridPath)
    size: Mapped[float] = mapped_column(sa.Double)  # square kilometres
    window_from: Mapped[datetime]
    window_to: Mapped[datetime]
    cells: Mapped[list[int]] = mapped_column(ARRAY(sa.Integer))
    lift_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("register_lifts.id"), index=True)
    number: Mapped[int] = mapped_column(sa.BigInteger, unique=True)
    saw: Mapped[int] = mapped_column(sa.BigInteger, index=True)  # which ticket was used last in its slot
    opened_xid: Mapped[str] = mapped_column(Xid8)
    opened_at: Mapped[datetime]
    lapsed_at: Mapped[datetime | None]
    settled: Mapped[bool] = mapped_column(server_default=sa.false())  # used or lapsed, once and for all

    __table_args__ = (
        sa.Index("ix_register_searches_unsettled", "opened_at", postgresql_where=sa.text("NOT settled")),
        sa.CheckConstraint(_among("kind", SHAPES), name="kind"),
        sa.CheckConstraint(_among("purpose", PURPOSES), name="purpose"),
        sa.CheckConstraint("window_to > window_from", name="window"),
        sa.Index("ix_register_searches_cells", "cells", postgresql_using="gin"),
        sa.Index("ix_register_searches_staff", "staff_id", "opened_at", "id"),
        sa.Index("ix_register_searches_case", "investigation_id", "opened_at", "id"),
        sa.Index("ix_register_searches_organisation", "organisation_id", "opened_at", "id"),
    )


class SearchWithholding(Base):
    """That owners do not learn of a search for longer than is usual, by whom and why."""

    __tablename__ = "search_withholdings"

    search_id: Mapped[UUID] = mapped_column(sa.ForeignKey("register_searches.id"), primary_key=True)
    given_by: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id"), index=True)
    reason: Mapped[str]
    until: Mapped[datetime]
    at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class RegisterTicket(Base):
    """The ticket to anything of the register that is no search: an owner's own page, a board, a schedule."""

    __tablename__ = "register_tickets"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    act: Mapped[str]
    entry_id: Mapped[int] = mapped_column(sa.BigInteger, unique=True)
    staff_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    contact_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    subject_id: Mapped[UUID | None]
    number: Mapped[int] = mapped_column(sa.BigInteger, unique=True)
    saw: Mapped[int] = mapped_column(sa.BigInteger, index=True)  # which ticket was used last in its slot
    opened_xid: Mapped[str] = mapped_column(Xid8)
    opened_at: Mapped[datetime] = mapped_column(index=True)
    lapsed_at: Mapped[datetime | None]
    settled: Mapped[bool] = mapped_column(server_default=sa.false())  # used or lapsed, once and for all

    __table_args__ = (
        sa.Index("ix_register_tickets_unsettled", "opened_at", postgresql_where=sa.text("NOT settled")),
        sa.CheckConstraint(_among("act", ACTS), name="act"),
        sa.CheckConstraint("(staff_id IS NULL) <> (contact_id IS NULL)", name="who"),
    )


class CameraRequest(Base):
    """A question to owners whose cameras may have seen something. Closed, never edited or deleted while kept."""

    __tablename__ = "camera_requests"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    search_id: Mapped[UUID] = mapped_column(sa.ForeignKey("register_searches.id"), index=True)
    investigation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("investigations.id"))
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id"), index=True)
    look_for: Mapped[str] = mapped_column("look_for_enc", EncryptedText("camera_requests.look_for"))
    window_from: Mapped[datetime]
    window_to: Mapped[datetime]
    cells: Mapped[list[int] | None] = mapped_column(
        ARRAY(sa.Integer)
    )  # the chosen ones; none: all that matched
    dispatch_id: Mapped[UUID | None] = mapped_column(unique=True)
    lift_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("register_lifts.id"), index=True)
    state: Mapped[str] = mapped_column(server_default="asking")
    asked_band: Mapped[str] = mapped_column(
        server_default=""
    )  # how many, in a band; "" until a worker sent it
    opened_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)
    closed_at: Mapped[datetime | None]
    closed_why: Mapped[str | None]
    outcome: Mapped[str | None] = mapped_column("outcome_enc", EncryptedText("camera_requests.outcome"))
    thanked_at: Mapped[datetime | None]  # when whoever answered was thanked, after its end

    __table_args__ = (
        sa.CheckConstraint("state IN ('asking', 'closed', 'expired')", name="state"),
        sa.Index("ix_camera_requests_case", "investigation_id", "opened_at", "id"),
        sa.Index("ix_camera_requests_organisation", "organisation_id", "opened_at", "id"),
        sa.Index("ix_camera_requests_open", "id", postgresql_where=sa.text("thanked_at IS NULL")),
    )


class RequestRecipient(Base):
    """An owner who was asked, and what they answered. Goes with the owner."""

    __tablename__ = "request_recipients"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    request_id: Mapped[UUID] = mapped_column(sa.ForeignKey("camera_requests.id"))
    owner_id: Mapped[UUID] = mapped_column(sa.ForeignKey("camera_owners.id", ondelete="CASCADE"), index=True)
    camera_ids: Mapped[list[UUID]] = mapped_column(ARRAY(sa.Uuid))
    asked_at: Mapped[datetime]
    overwritten_at: Mapped[datetime | None] = mapped_column(index=True)  # when the first of the footage goes
    reminded_at: Mapped[datetime | None]
    answer: Mapped[str | None]
    note: Mapped[str | None] = mapped_column("note_enc", EncryptedText("request_recipients.note"))
    answered_at: Mapped[datetime | None]

    __table_args__ = (
        sa.UniqueConstraint("request_id", "owner_id"),
        sa.CheckConstraint(_among("answer", ANSWERS), name="answer"),
        sa.CheckConstraint("(answer IS NULL) = (answered_at IS NULL)", name="answered"),
    )


class Disclosure(Base):
    """What one investigation was shown of one owner after that owner answered. Outlives the owner, as they were told.

    Encrypted values are copies, made inside the database, of the owner's own, and open as those do. ``facts``: kind of
    owner, how and when to reach them, and each camera. ``made_xid``: the transaction that made it, which shows nothing.
    """

    __tablename__ = "disclosures"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    request_id: Mapped[UUID] = mapped_column(sa.ForeignKey("camera_requests.id"))
    investigation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("investigations.id"))
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    owner_id: Mapped[UUID]  # no foreign key: see above
    answer: Mapped[str]
    channel: Mapped[str]
    name: Mapped[str] = mapped_column("name_enc", EncryptedText("camera_owners.name"))
    address: Mapped[str] = mapped_column("address_enc", EncryptedText(ADDRESS_PURPOSE))
    note: Mapped[str | None] = mapped_column("note_enc", EncryptedText("request_recipients.note"))
    facts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    entry_id: Mapped[int] = mapped_column(sa.BigInteger, unique=True)
    made_xid: Mapped[str] = mapped_column(Xid8)
    at: Mapped[datetime]

    __table_args__ = (
        sa.UniqueConstraint("request_id", "owner_id"),
        sa.Index("ix_disclosures_listed", "investigation_id", "at", "id"),
    )
