"""Contact points, the people who share them, their places and what they subscribe to."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, EncryptedText, GridPoint, Pt, new_contact_id, new_id

ADDRESS_PURPOSE = "contact_points.address"
SALUTATION_PURPOSE = "contact_points.salutation"


class ContactPoint(Base):
    """An address: the recipient. Several people may share one, and controllers share it.

    Deleted, not marked, at erasure: its id stays in frozen arrays and says nothing.
    """

    __tablename__ = "contact_points"

    id: Mapped[int] = mapped_column(
        sa.BigInteger, primary_key=True, autoincrement=False, default=new_contact_id
    )
    channel: Mapped[str]
    address: Mapped[str] = mapped_column("address_enc", EncryptedText(ADDRESS_PURPOSE))
    digest: Mapped[bytes] = mapped_column(sa.LargeBinary)
    digest_key: Mapped[int] = mapped_column(sa.SmallInteger)
    form_version: Mapped[int] = mapped_column(sa.SmallInteger)
    salutation: Mapped[str | None] = mapped_column("salutation_enc", EncryptedText(SALUTATION_PURPOSE))
    language: Mapped[str] = mapped_column(server_default="en")
    synthetic: Mapped[bool] = mapped_column(server_default=sa.false())
    confirmed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (
        sa.UniqueConstraint("channel", "digest"),
        sa.CheckConstraint("channel IN ('email', 'sms')", name="channel"),
        # The index below has no room for more. An address has 320 characters at most, a name 100.
        sa.CheckConstraint(
            "octet_length(address_enc) + coalesce(octet_length(salutation_enc), 0) <= 2500", name="fits"
        ),
        # All that sending a batch reads of its people, in the order of their ids.
        sa.Index(
            "ix_contact_points_sending",
            "id",
            postgresql_include=["address_enc", "salutation_enc", "synthetic", "digest"],
        ),
    )


class Person(Base):
    """Somebody known by name to one controller. Optional: an address alone may subscribe."""

    __tablename__ = "people"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    name: Mapped[str] = mapped_column("name_enc", EncryptedText("people.name"))
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())


class PersonContactPoint(Base):
    """Who reads at a contact point."""

    __tablename__ = "person_contact_points"

    person_id: Mapped[UUID] = mapped_column(sa.ForeignKey("people.id", ondelete="CASCADE"), primary_key=True)
    contact_id: Mapped[int] = mapped_column(
        sa.ForeignKey("contact_points.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class Place(Base):
    """Where somebody wants to hear about: a postcode, a pin, or only a ward."""

    __tablename__ = "places"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"), index=True)
    person_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("people.id", ondelete="CASCADE"), index=True)
    kind: Mapped[str]
    postcode: Mapped[str | None]
    at: Mapped[Pt | None] = mapped_column(GridPoint)
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())

    __table_args__ = (
        sa.CheckConstraint("kind IN ('postcode', 'pin', 'ward')", name="kind"),
        sa.CheckConstraint("kind <> 'postcode' OR postcode IS NOT NULL", name="postcode"),
        sa.CheckConstraint("kind <> 'pin' OR at IS NOT NULL", name="pin"),
        sa.Index("ix_places_at", "at", postgresql_using="gist"),
        sa.Index("ix_places_postcode", "postcode"),
    )


class PlaceArea(Base):
    """Which area a place lies in, by which release and since when: a change can be reversed."""

    __tablename__ = "place_areas"

    place_id: Mapped[UUID] = mapped_column(sa.ForeignKey("places.id", ondelete="CASCADE"), primary_key=True)
    area_id: Mapped[int] = mapped_column(sa.ForeignKey("areas.id"), primary_key=True)
    valid_from: Mapped[date] = mapped_column(primary_key=True)
    valid_to: Mapped[date | None]
    release_id: Mapped[str] = mapped_column(sa.ForeignKey("releases.id"))

    __table_args__ = (
        sa.Index(
            "ix_place_areas_now",
            "area_id",
            "place_id",
            unique=True,
            postgresql_where=sa.text("valid_to IS NULL"),
        ),
    )


class Subscription(Base):
    """Place × topic × contact point, under one controller."""

    __tablename__ = "subscriptions"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    place_id: Mapped[UUID] = mapped_column(sa.ForeignKey("places.id", ondelete="CASCADE"))
    contact_id: Mapped[int] = mapped_column(sa.ForeignKey("contact_points.id", ondelete="CASCADE"))
    controller_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    topic: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    ended_at: Mapped[datetime | None]

    __table_args__ = (
        sa.Index(
            "ix_subscriptions_now",
            "place_id",
            "topic",
            "contact_id",
            unique=True,
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
        sa.Index("ix_subscriptions_contact", "contact_id"),
        # Of a place that goes, ended subscriptions go too.
        sa.Index("ix_subscriptions_place", "place_id"),
    )


class Erasure(Base):
    """The journal of erasures, ids and times only: what a restore brings back is erased again by it.

    Whatever is here also goes, by way of the record, into a file outside the database (``app.audit.journal``).
    """

    __tablename__ = "erasures"

    id: Mapped[int] = mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)
    contact_id: Mapped[int | None] = mapped_column(sa.BigInteger, unique=True)
    person_id: Mapped[UUID | None] = mapped_column(unique=True)
    at: Mapped[datetime] = mapped_column(server_default=sa.func.now())
    # When the row was written: a replay writes the time of the first erasure into "at".
    noted_at: Mapped[datetime] = mapped_column(server_default=sa.func.now(), index=True)

    __table_args__ = (sa.CheckConstraint("(contact_id IS NULL) <> (person_id IS NULL)", name="who"),)
