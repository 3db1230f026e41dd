"""The register: owners, cameras, investigations, searches, requests and disclosures, and who may touch them.

Revision: 0017, after 0016
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app.db import GridPoint
from app.models.area_changes import GridPolygon
from app.models.register import GridPath, Xid8
from migrations import register_sql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "register_settings",
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("case_pattern", sa.Text(), server_default="^[A-Z0-9][A-Z0-9/-]{3,39}$", nullable=False),
        sa.Column("case_example", sa.Text(), server_default="1234567/26", nullable=False),
        sa.Column("portal_name", sa.Text(), nullable=True),
        sa.Column("portal_url", sa.Text(), nullable=True),
        sa.Column("show_after", sa.Interval(), server_default="28 days", nullable=False),
        sa.CheckConstraint(
            "show_after BETWEEN interval '0' AND interval '1 year'",
            name=op.f("ck_register_settings_show_after"),
        ),
        sa.CheckConstraint(
            "(portal_name IS NULL) = (portal_url IS NULL)", name=op.f("ck_register_settings_portal")
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_register_settings_organisation_id_organisations"),
        ),
        sa.PrimaryKeyConstraint("organisation_id", name=op.f("pk_register_settings")),
    )
    op.create_table(
        "camera_owners",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("other_contact_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), server_default="home", nullable=False),
        sa.Column("name_enc", sa.LargeBinary(), nullable=False),
        sa.Column("reach_how", sa.Text(), server_default="link", nullable=False),
        sa.Column("reach_when", sa.Text(), server_default="any", nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("confirmed_at", _TIME, nullable=True),
        sa.Column("renew_by", _TIME, nullable=True),
        sa.Column("reminded", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("added_by", sa.Uuid(), nullable=True),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('home', 'business', 'other')", name=op.f("ck_camera_owners_kind")),
        sa.CheckConstraint(
            "reach_how IN ('link', 'phone', 'visit')", name=op.f("ck_camera_owners_reach_how")
        ),
        sa.CheckConstraint(
            "reach_when IN ('any', 'day', 'evening', 'weekend')", name=op.f("ck_camera_owners_reach_when")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'active', 'paused', 'left')", name=op.f("ck_camera_owners_state")
        ),
        sa.CheckConstraint(
            "state NOT IN ('active', 'paused') OR confirmed_at IS NOT NULL",
            name=op.f("ck_camera_owners_confirmed"),
        ),
        sa.ForeignKeyConstraint(
            ["added_by"], ["staff.id"], name=op.f("fk_camera_owners_added_by_staff"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact_points.id"],
            name=op.f("fk_camera_owners_contact_id_contact_points"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_camera_owners_controller_id_organisations")
        ),
        sa.ForeignKeyConstraint(
            ["other_contact_id"],
            ["contact_points.id"],
            name=op.f("fk_camera_owners_other_contact_id_contact_points"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_camera_owners")),
        sa.UniqueConstraint(
            "contact_id", "controller_id", name=op.f("uq_camera_owners_contact_id_controller_id")
        ),
    )
    op.create_index(op.f("ix_camera_owners_added_by"), "camera_owners", ["added_by"], unique=False)
    op.create_index(op.f("ix_camera_owners_controller_id"), "camera_owners", ["controller_id"], unique=False)
    op.create_index(
        op.f("ix_camera_owners_other_contact_id"), "camera_owners", ["other_contact_id"], unique=False
    )
    op.create_index(op.f("ix_camera_owners_renew_by"), "camera_owners", ["renew_by"], unique=False)
    op.create_table(
        "investigations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("opened_by", sa.Uuid(), nullable=False),
        sa.Column("opened_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["opened_by"], ["staff.id"], name=op.f("fk_investigations_opened_by_staff")),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_investigations_organisation_id_organisations"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_investigations")),
        sa.UniqueConstraint(
            "organisation_id", "reference", name=op.f("uq_investigations_organisation_id_reference")
        ),
    )
    op.create_index(op.f("ix_investigations_opened_by"), "investigations", ["opened_by"], unique=False)
    op.create_table(
        "register_tickets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("act", sa.Text(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=True),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("saw", sa.BigInteger(), nullable=False),
        sa.Column("opened_xid", Xid8(), nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("lapsed_at", _TIME, nullable=True),
        sa.Column("settled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint(
            "act IN ('own', 'board', 'schedule', 'door')", name=op.f("ck_register_tickets_act")
        ),
        sa.CheckConstraint(
            "(staff_id IS NULL) <> (contact_id IS NULL)", name=op.f("ck_register_tickets_who")
        ),
        sa.ForeignKeyConstraint(
            ["staff_id"], ["staff.id"], name=op.f("fk_register_tickets_staff_id_staff"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_register_tickets")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_register_tickets_entry_id")),
        sa.UniqueConstraint("number", name=op.f("uq_register_tickets_number")),
    )
    op.create_index(op.f("ix_register_tickets_opened_at"), "register_tickets", ["opened_at"], unique=False)
    op.create_index(op.f("ix_register_tickets_staff_id"), "register_tickets", ["staff_id"], unique=False)
    op.create_table(
        "cameras",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("postcode", sa.Text(), nullable=False),
        sa.Column("at", GridPoint(), nullable=False),
        sa.Column("bearing", sa.SmallInteger(), nullable=False),
        sa.Column("field", sa.SmallInteger(), nullable=False),
        sa.Column("reach", sa.SmallInteger(), nullable=False),
        sa.Column("sector", GridPolygon(), nullable=False),
        sa.Column("height", sa.SmallInteger(), nullable=True),
        sa.Column("night", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("audio", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("covers", sa.Text(), server_default="own-land", nullable=False),
        sa.Column("days_kept", sa.SmallInteger(), nullable=False),
        sa.Column("cell_id", sa.Integer(), nullable=False),
        sa.Column("ward_code", sa.Text(), nullable=False),
        sa.Column("label_enc", sa.LargeBinary(), nullable=True),
        sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("live", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("changed_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("covers IN ('own-land', 'street', 'shared')", name=op.f("ck_cameras_covers")),
        sa.CheckConstraint(
            "kind IN ('doorbell', 'fixed', 'ptz', 'dash-cam', 'business')", name=op.f("ck_cameras_kind")
        ),
        sa.CheckConstraint("bearing BETWEEN 0 AND 359", name=op.f("ck_cameras_bearing")),
        sa.CheckConstraint("days_kept BETWEEN 0 AND 366", name=op.f("ck_cameras_days_kept")),
        sa.CheckConstraint("field BETWEEN 1 AND 360", name=op.f("ck_cameras_field")),
        sa.CheckConstraint("reach BETWEEN 1 AND 300", name=op.f("ck_cameras_reach")),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["camera_owners.id"],
            name=op.f("fk_cameras_owner_id_camera_owners"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cameras")),
    )
    op.create_index(
        "ix_cameras_at",
        "cameras",
        ["at"],
        unique=False,
        postgresql_using="gist",
        postgresql_where=sa.text("live"),
    )
    op.create_index(
        "ix_cameras_cell",
        "cameras",
        ["controller_id", "cell_id"],
        unique=False,
        postgresql_include=["bearing", "field", "reach", "kind", "days_kept", "night"],
        postgresql_where=sa.text("live"),
    )
    op.create_index(op.f("ix_cameras_owner_id"), "cameras", ["owner_id"], unique=False)
    op.create_index(
        "ix_cameras_sector",
        "cameras",
        ["sector"],
        unique=False,
        postgresql_using="gist",
        postgresql_where=sa.text("live"),
    )
    op.create_table(
        "register_lifts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("investigation_id", sa.Uuid(), nullable=False),
        sa.Column("cap", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("given_by", sa.Uuid(), nullable=False),
        sa.Column("given_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.CheckConstraint("cap IN ('area', 'window', 'requests')", name=op.f("ck_register_lifts_cap")),
        sa.CheckConstraint("given_by <> staff_id", name=op.f("ck_register_lifts_other")),
        sa.ForeignKeyConstraint(["given_by"], ["staff.id"], name=op.f("fk_register_lifts_given_by_staff")),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            ["investigations.id"],
            name=op.f("fk_register_lifts_investigation_id_investigations"),
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_register_lifts_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_register_lifts_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_register_lifts")),
    )
    op.create_index(op.f("ix_register_lifts_given_by"), "register_lifts", ["given_by"], unique=False)
    op.create_index(
        op.f("ix_register_lifts_investigation_id"), "register_lifts", ["investigation_id"], unique=False
    )
    op.create_index(
        "ix_register_lifts_listed", "register_lifts", ["organisation_id", "given_at", "id"], unique=False
    )
    op.create_index(op.f("ix_register_lifts_staff_id"), "register_lifts", ["staff_id"], unique=False)
    op.create_table(
        "register_searches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("investigation_id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("reason_enc", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("centre", GridPoint(), nullable=True),
        sa.Column("radius", sa.Double(), nullable=True),
        sa.Column("outline", GridPolygon(), nullable=True),
        sa.Column("route", GridPath(), nullable=True),
        sa.Column("size", sa.Double(), nullable=False),
        sa.Column("window_from", _TIME, nullable=False),
        sa.Column("window_to", _TIME, nullable=False),
        sa.Column("cells", postgresql.ARRAY(sa.Integer()), nullable=False),
        sa.Column("lift_id", sa.Uuid(), nullable=True),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("saw", sa.BigInteger(), nullable=False),
        sa.Column("opened_xid", Xid8(), nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("lapsed_at", _TIME, nullable=True),
        sa.Column("settled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('radius', 'area', 'route', 'view')", name=op.f("ck_register_searches_kind")
        ),
        sa.CheckConstraint(
            "purpose IN ('prevention', 'investigation', 'detection', 'prosecution', 'safeguarding')",
            name=op.f("ck_register_searches_purpose"),
        ),
        sa.CheckConstraint("window_to > window_from", name=op.f("ck_register_searches_window")),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            ["investigations.id"],
            name=op.f("fk_register_searches_investigation_id_investigations"),
        ),
        sa.ForeignKeyConstraint(
            ["lift_id"], ["register_lifts.id"], name=op.f("fk_register_searches_lift_id_register_lifts")
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_register_searches_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_register_searches_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_register_searches")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_register_searches_entry_id")),
        sa.UniqueConstraint("number", name=op.f("uq_register_searches_number")),
    )
    op.create_index(
        "ix_register_searches_case",
        "register_searches",
        ["investigation_id", "opened_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_register_searches_cells", "register_searches", ["cells"], unique=False, postgresql_using="gin"
    )
    op.create_index(op.f("ix_register_searches_lift_id"), "register_searches", ["lift_id"], unique=False)
    op.create_index(
        "ix_register_searches_organisation",
        "register_searches",
        ["organisation_id", "opened_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_register_searches_staff", "register_searches", ["staff_id", "opened_at", "id"], unique=False
    )
    op.create_table(
        "camera_requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("search_id", sa.Uuid(), nullable=False),
        sa.Column("investigation_id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("look_for_enc", sa.LargeBinary(), nullable=False),
        sa.Column("window_from", _TIME, nullable=False),
        sa.Column("window_to", _TIME, nullable=False),
        sa.Column("cells", postgresql.ARRAY(sa.Integer()), nullable=True),
        sa.Column("dispatch_id", sa.Uuid(), nullable=True),
        sa.Column("state", sa.Text(), server_default="asking", nullable=False),
        sa.Column("asked_band", sa.Text(), nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.Column("closed_why", sa.Text(), nullable=True),
        sa.Column("outcome_enc", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("state IN ('asking', 'closed', 'expired')", name=op.f("ck_camera_requests_state")),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            ["investigations.id"],
            name=op.f("fk_camera_requests_investigation_id_investigations"),
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_camera_requests_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["register_searches.id"],
            name=op.f("fk_camera_requests_search_id_register_searches"),
        ),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_camera_requests_staff_id_staff")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_camera_requests")),
    )
    op.create_index(
        "ix_camera_requests_case", "camera_requests", ["investigation_id", "opened_at", "id"], unique=False
    )
    op.create_index(op.f("ix_camera_requests_expires_at"), "camera_requests", ["expires_at"], unique=False)
    op.create_index(
        "ix_camera_requests_organisation",
        "camera_requests",
        ["organisation_id", "opened_at", "id"],
        unique=False,
    )
    op.create_index(op.f("ix_camera_requests_search_id"), "camera_requests", ["search_id"], unique=False)
    op.create_index(op.f("ix_camera_requests_staff_id"), "camera_requests", ["staff_id"], unique=False)
    op.create_table(
        "search_withholdings",
        sa.Column("search_id", sa.Uuid(), nullable=False),
        sa.Column("given_by", sa.Uuid(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", _TIME, nullable=False),
        sa.Column("at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["given_by"], ["staff.id"], name=op.f("fk_search_withholdings_given_by_staff")
        ),
        sa.ForeignKeyConstraint(
            ["search_id"],
            ["register_searches.id"],
            name=op.f("fk_search_withholdings_search_id_register_searches"),
        ),
        sa.PrimaryKeyConstraint("search_id", name=op.f("pk_search_withholdings")),
    )
    op.create_index(
        op.f("ix_search_withholdings_given_by"), "search_withholdings", ["given_by"], unique=False
    )
    op.create_table(
        "disclosures",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("investigation_id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("facts_enc", sa.LargeBinary(), nullable=False),
        sa.Column("entry_id", sa.BigInteger(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["investigation_id"],
            ["investigations.id"],
            name=op.f("fk_disclosures_investigation_id_investigations"),
        ),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_disclosures_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["camera_requests.id"], name=op.f("fk_disclosures_request_id_camera_requests")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_disclosures")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_disclosures_entry_id")),
        sa.UniqueConstraint("request_id", "owner_id", name=op.f("uq_disclosures_request_id_owner_id")),
    )
    op.create_index(
        op.f("ix_disclosures_investigation_id"), "disclosures", ["investigation_id"], unique=False
    )
    op.create_index(op.f("ix_disclosures_organisation_id"), "disclosures", ["organisation_id"], unique=False)
    op.create_table(
        "request_recipients",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("camera_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("overwritten_at", _TIME, nullable=True),
        sa.Column("reminded_at", _TIME, nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("note_enc", sa.LargeBinary(), nullable=True),
        sa.Column("answered_at", _TIME, nullable=True),
        sa.CheckConstraint(
            "answer IN ('have-it', 'have-not', 'overwritten', 'call-me', 'not-again')",
            name=op.f("ck_request_recipients_answer"),
        ),
        sa.CheckConstraint(
            "(answer IS NULL) = (answered_at IS NULL)", name=op.f("ck_request_recipients_answered")
        ),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["camera_owners.id"],
            name=op.f("fk_request_recipients_owner_id_camera_owners"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["camera_requests.id"],
            name=op.f("fk_request_recipients_request_id_camera_requests"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request_recipients")),
        sa.UniqueConstraint("request_id", "owner_id", name=op.f("uq_request_recipients_request_id_owner_id")),
    )
    op.create_index(
        op.f("ix_request_recipients_overwritten_at"), "request_recipients", ["overwritten_at"], unique=False
    )
    op.create_index(op.f("ix_request_recipients_owner_id"), "request_recipients", ["owner_id"], unique=False)

    for table in ("register_searches", "register_tickets"):
        op.create_index(op.f(f"ix_{table}_saw"), table, ["saw"], unique=False)
        op.create_index(
            f"ix_{table}_unsettled", table, ["opened_at"], postgresql_where=sa.text("NOT settled")
        )

    for statement in (*register_sql.CONTROLLER, *register_sql.grants()):
        op.execute(statement)


def downgrade() -> None:
    for statement in register_sql.drop():
        op.execute(statement)
    for table in (
        "request_recipients",
        "disclosures",
        "search_withholdings",
        "camera_requests",
        "register_searches",
        "register_lifts",
        "cameras",
        "register_tickets",
        "investigations",
        "camera_owners",
        "register_settings",
    ):
        op.drop_table(table)
    op.execute("DROP FUNCTION camera_controller()")
