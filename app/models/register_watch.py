"""Watching those who search the register: findings, reviews, homes of staff, and figures that anybody may see."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, EncryptedText, new_id

RULES = ("volume", "hours", "lone-case", "many-cases", "same-place", "home", "sweep")
STATES = ("open", "explained", "referred")
VERDICTS = ("proper", "explain", "improper")
FIGURES = (
    "searches", "requests", "answers", "disclosures", "withholdings", "reviews", "proper", "explain", "improper",
)  # fmt: skip


def _among(name: str, values: tuple[str, ...]) -> str:
    return f"{name} IN ({', '.join(map(repr, values))})"


class SearchFinding(Base):
    """Searches of one person that a rule finds unusual. While it is open it grows; then they count for it no more."""

    __tablename__ = "search_findings"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    rule: Mapped[str]
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id"))  # whose searches
    searches: Mapped[list[UUID]] = mapped_column(ARRAY(sa.Uuid))
    found_at: Mapped[datetime]
    told: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")
    """How many were told of it."""
    state: Mapped[str] = mapped_column(server_default="open")
    closed_at: Mapped[datetime | None] = mapped_column(index=True)
    closed_by: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id"), index=True)
    note: Mapped[str | None] = mapped_column("note_enc", EncryptedText("search_findings.note"))

    __table_args__ = (
        sa.CheckConstraint(_among("rule", RULES), name="rule"),
        sa.CheckConstraint(_among("state", STATES), name="state"),
        sa.CheckConstraint("cardinality(searches) > 0", name="searches"),
        sa.CheckConstraint(
            "(state = 'open') = (closed_at IS NULL) AND (closed_at IS NULL) = (note_enc IS NULL)",
            name="closed",
        ),
        sa.CheckConstraint("closed_by <> staff_id", name="other"),
        sa.Index(
            "ix_search_findings_one", "rule", "staff_id", unique=True, postgresql_where=sa.text("state = 'open'")
        ),
        sa.Index("ix_search_findings_of", "staff_id", "rule"),
        sa.Index(
            "ix_search_findings_open", "organisation_id", "found_at", "id",
            postgresql_where=sa.text("state = 'open'"),
        ),
        sa.Index(
            "ix_search_findings_closed", "organisation_id", "found_at", "id",
            postgresql_where=sa.text("state <> 'open'"),
        ),
    )  # fmt: skip


class SearchReview(Base):
    """A search that was drawn for its month's review, who is to look at it until when, and the verdict."""

    __tablename__ = "search_reviews"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    organisation_id: Mapped[UUID] = mapped_column(sa.ForeignKey("organisations.id"))
    search_id: Mapped[UUID] = mapped_column(sa.ForeignKey("register_searches.id"), unique=True)
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id"), index=True)  # who searched
    month: Mapped[date]
    reviewer_id: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id"))
    assigned_at: Mapped[datetime]
    due_at: Mapped[datetime]
    reminded: Mapped[int] = mapped_column(sa.SmallInteger, server_default="0")  # 1: soon due, 2: late
    verdict: Mapped[str | None]
    note: Mapped[str | None] = mapped_column("note_enc", EncryptedText("search_reviews.note"))
    judged_by: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id"), index=True)
    judged_at: Mapped[datetime | None] = mapped_column(index=True)

    __table_args__ = (
        sa.CheckConstraint(_among("verdict", VERDICTS), name="verdict"),
        sa.CheckConstraint(
            "(verdict IS NULL) = (judged_at IS NULL) AND (verdict IS NULL) = (note_enc IS NULL)", name="judged"
        ),
        sa.CheckConstraint("reviewer_id <> staff_id AND judged_by <> staff_id", name="other"),
        sa.Index("ix_search_reviews_month", "organisation_id", "month"),
        sa.Index(
            "ix_search_reviews_mine", "reviewer_id", "due_at", "id", postgresql_where=sa.text("judged_at IS NULL")
        ),
        sa.Index(
            "ix_search_reviews_open", "organisation_id", "due_at", "id",
            postgresql_where=sa.text("judged_at IS NULL"),
        ),
        sa.Index("ix_search_reviews_due", "due_at", postgresql_where=sa.text("judged_at IS NULL")),
        sa.Index(
            "ix_search_reviews_judged", "organisation_id", "judged_at", "id",
            postgresql_where=sa.text("judged_at IS NOT NULL"),
        ),
    )  # fmt: skip


class SearchPlace(Base):
    """In which borough the middle of a search lies, and in which quarter of London's calendar it was made."""

    __tablename__ = "search_places"

    search_id: Mapped[UUID] = mapped_column(sa.ForeignKey("register_searches.id"), primary_key=True)
    quarter: Mapped[date]
    borough_code: Mapped[str]

    __table_args__ = (sa.Index("ix_search_places_quarter", "quarter", "borough_code"),)


class StaffHome(Base):
    """The ward that somebody of staff says they live in. One that ended counts for a year more."""

    __tablename__ = "staff_homes"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    staff_id: Mapped[UUID] = mapped_column(sa.ForeignKey("staff.id", ondelete="CASCADE"), index=True)
    ward_code: Mapped[str]
    said_by: Mapped[UUID | None] = mapped_column(sa.ForeignKey("staff.id", ondelete="SET NULL"), index=True)
    since: Mapped[datetime]
    until: Mapped[datetime | None] = mapped_column(index=True)

    __table_args__ = (
        sa.CheckConstraint("until >= since", name="term"),
        sa.Index("ix_staff_homes_now", "staff_id", unique=True, postgresql_where=sa.text("until IS NULL")),
    )


class RegisterFigure(Base):
    """What anybody may know of a borough's quarter. NULL: fewer than five; else to the nearest five."""

    __tablename__ = "register_figures"

    quarter: Mapped[date] = mapped_column(primary_key=True)
    borough_code: Mapped[str] = mapped_column(primary_key=True)
    searches: Mapped[int | None]
    requests: Mapped[int | None]
    answers: Mapped[int | None]
    disclosures: Mapped[int | None]
    withholdings: Mapped[int | None]
    reviews: Mapped[int | None]
    proper: Mapped[int | None]
    explain: Mapped[int | None]
    improper: Mapped[int | None]
    counted_at: Mapped[datetime]
