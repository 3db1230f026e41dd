"""The ground: organisations, areas, people, consent, alerts, the ledger, receipts and the record.

Revision: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from app import db
from migrations import audit_sql, ground_sql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "areas",
    "contact_points",
    "deliveries",
    "early_receipts",
    "erasures",
    "organisations",
    "raw_events",
    "releases",
    "senders",
    "wordings",
    "alerts",
    "area_successors",
    "consents",
    "people",
    "postcodes",
    "sender_controllers",
    "sender_pace",
    "suppressions",
    "dispatches",
    "person_contact_points",
    "places",
    "batches",
    "dispatch_contents",
    "place_areas",
    "subscriptions",
    "attempts",
)


def upgrade() -> None:
    op.create_table(
        "areas",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("former_name", sa.Text(), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("at", db.GridPoint(), nullable=True),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name=op.f("ck_areas_validity")),
        sa.ForeignKeyConstraint(["parent_id"], ["areas.id"], name=op.f("fk_areas_parent_id_areas")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_areas")),
        sa.UniqueConstraint("code", "valid_from", name=op.f("uq_areas_code_valid_from")),
    )
    op.create_index(
        "ix_areas_code_now", "areas", ["code"], unique=True, postgresql_where=sa.text("valid_to IS NULL")
    )
    op.create_index(op.f("ix_areas_parent_id"), "areas", ["parent_id"], unique=False)
    op.create_table(
        "contact_points",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address_enc", sa.LargeBinary(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("digest_key", sa.SmallInteger(), nullable=False),
        sa.Column("form_version", sa.SmallInteger(), nullable=False),
        sa.Column("salutation_enc", sa.LargeBinary(), nullable=True),
        sa.Column("language", sa.Text(), server_default="en", nullable=False),
        sa.Column("synthetic", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("channel IN ('email', 'sms')", name=op.f("ck_contact_points_channel")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_contact_points")),
        sa.UniqueConstraint("channel", "digest", name=op.f("uq_contact_points_channel_digest")),
    )
    op.create_table(
        "deliveries",
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("batch_n", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), nullable=False),
        sa.Column("attempt_n", sa.Integer(), nullable=True),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("provider_ref", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("dispatch_id", "contact_id", name=op.f("pk_deliveries")),
        postgresql_partition_by="RANGE (dispatch_id)",
    )
    op.create_index(
        "ix_deliveries_named",
        "deliveries",
        ["contact_id"],
        unique=False,
        postgresql_where=sa.text("provider_ref IS NOT NULL"),
    )
    op.create_table(
        "early_receipts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.Column("batch_n", sa.Integer(), nullable=False),
        sa.Column("attempt_n", sa.Integer(), nullable=False),
        sa.Column("ordinal", sa.SmallInteger(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("suppress", sa.Text(), nullable=True),
        sa.Column("provider_ref", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_early_receipts")),
    )
    op.create_index(
        "ix_early_receipts_ref", "early_receipts", ["dispatch_id", "batch_n", "ordinal"], unique=False
    )
    op.create_table(
        "erasures",
        sa.Column("contact_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("contact_id", name=op.f("pk_erasures")),
    )
    op.create_table(
        "organisations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("legal_basis", sa.Text(), nullable=False),
        sa.Column("competent_authority", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('police', 'council', 'transport police', 'fire', 'association')",
            name=op.f("ck_organisations_kind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_organisations")),
        sa.UniqueConstraint("slug", name=op.f("uq_organisations_slug")),
    )
    op.create_table(
        "raw_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("merged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "source IN ('sendgrid', 'twilio-status', 'twilio-inbound')", name=op.f("ck_raw_events_source")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_raw_events")),
    )
    op.create_index(
        "ix_raw_events_inbound",
        "raw_events",
        ["id"],
        unique=False,
        postgresql_where=sa.text("merged_at IS NULL AND source = 'twilio-inbound'"),
    )
    op.create_index("ix_raw_events_received", "raw_events", ["received_at"], unique=False)
    op.create_index(
        "ix_raw_events_waiting",
        "raw_events",
        ["id"],
        unique=False,
        postgresql_where=sa.text("merged_at IS NULL"),
    )
    op.create_table(
        "releases",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("published", sa.Date(), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("live_postcodes", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
    )
    op.create_table(
        "senders",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("segments_per_second", sa.Double(), server_default="10", nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.CheckConstraint("channel IN ('email', 'sms')", name=op.f("ck_senders_channel")),
        sa.CheckConstraint("kind IN ('two-way', 'alphanumeric', 'email')", name=op.f("ck_senders_kind")),
        sa.CheckConstraint("lane IN ('urgent', 'bulk')", name=op.f("ck_senders_lane")),
        sa.CheckConstraint("segments_per_second > 0", name=op.f("ck_senders_rate")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_senders")),
        sa.UniqueConstraint("channel", "address", "lane", name=op.f("uq_senders_channel_address_lane")),
    )
    op.create_table(
        "wordings",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("language", sa.Text(), server_default="en", nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_wordings")),
        sa.UniqueConstraint(
            "purpose", "version", "language", name=op.f("uq_wordings_purpose_version_language")
        ),
    )
    op.create_table(
        "alerts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), server_default="en", nullable=False),
        sa.Column("headline", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("what_to_do", sa.Text(), server_default="", nullable=False),
        sa.Column("sms_text", sa.Text(), server_default="", nullable=False),
        sa.Column("channels", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("audience", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("restricted", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state", sa.Text(), server_default="draft", nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('alert', 'appeal', 'missing', 'advice', 'event', 'outcome', 'survey', 'partner briefing')",
            name=op.f("ck_alerts_kind"),
        ),
        sa.CheckConstraint("state IN ('draft', 'sent')", name=op.f("ck_alerts_state")),
        sa.CheckConstraint(
            "topic IN ('incidents and appeals', 'missing people', 'prevention', 'events', 'outcomes')",
            name=op.f("ck_alerts_topic"),
        ),
        sa.CheckConstraint(
            "urgency IN ('risk-to-life', 'urgent', 'routine')", name=op.f("ck_alerts_urgency")
        ),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_alerts_controller_id_organisations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sa.UniqueConstraint("reference", name=op.f("uq_alerts_reference")),
    )
    op.create_index(op.f("ix_alerts_controller_id"), "alerts", ["controller_id"], unique=False)
    op.create_table(
        "area_successors",
        sa.Column("area_id", sa.Integer(), nullable=False),
        sa.Column("successor_id", sa.Integer(), nullable=False),
        sa.Column("share", sa.Double(), nullable=False),
        sa.CheckConstraint("share > 0 AND share <= 1", name=op.f("ck_area_successors_share")),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_area_successors_area_id_areas")),
        sa.ForeignKeyConstraint(
            ["successor_id"], ["areas.id"], name=op.f("fk_area_successors_successor_id_areas")
        ),
        sa.PrimaryKeyConstraint("area_id", "successor_id", name=op.f("pk_area_successors")),
    )
    op.create_index(
        op.f("ix_area_successors_successor_id"), "area_successors", ["successor_id"], unique=False
    )
    op.create_table(
        "consents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=True),
        sa.Column("pseudonym", sa.LargeBinary(), nullable=True),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("wording_id", sa.Integer(), nullable=False),
        sa.Column("given_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("how", sa.Text(), nullable=False),
        sa.Column("evidence", postgresql.JSONB(astext_type=sa.Text()), server_default="{}", nullable=False),
        sa.Column("withdrawn_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("withdrawn_how", sa.Text(), nullable=True),
        sa.CheckConstraint("purpose IN ('alerts', 'register')", name=op.f("ck_consents_purpose")),
        sa.CheckConstraint("(contact_id IS NULL) <> (pseudonym IS NULL)", name=op.f("ck_consents_who")),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_consents_controller_id_organisations")
        ),
        sa.ForeignKeyConstraint(
            ["wording_id"], ["wordings.id"], name=op.f("fk_consents_wording_id_wordings")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_consents")),
    )
    op.create_index(
        "ix_consents_contact",
        "consents",
        ["contact_id"],
        unique=False,
        postgresql_where=sa.text("contact_id IS NOT NULL"),
    )
    op.create_index(op.f("ix_consents_controller_id"), "consents", ["controller_id"], unique=False)
    op.create_index(
        "ix_consents_now",
        "consents",
        ["contact_id", "controller_id", "purpose"],
        unique=True,
        postgresql_where=sa.text("withdrawn_at IS NULL AND contact_id IS NOT NULL"),
    )
    op.create_table(
        "people",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("name_enc", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_people_controller_id_organisations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_people")),
    )
    op.create_index(op.f("ix_people_controller_id"), "people", ["controller_id"], unique=False)
    op.create_table(
        "postcodes",
        sa.Column("postcode", sa.Text(), nullable=False),
        sa.Column("at", db.GridPoint(), nullable=False),
        sa.Column("ward_code", sa.Text(), nullable=False),
        sa.Column("quality", sa.SmallInteger(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name=op.f("fk_postcodes_release_id_releases")
        ),
        sa.PrimaryKeyConstraint("postcode", name=op.f("pk_postcodes")),
    )
    op.create_index("ix_postcodes_at", "postcodes", ["at"], unique=False, postgresql_using="gist")
    op.create_index(op.f("ix_postcodes_ward_code"), "postcodes", ["ward_code"], unique=False)
    op.create_table(
        "sender_controllers",
        sa.Column("sender_id", sa.Integer(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name=op.f("fk_sender_controllers_organisation_id_organisations"),
        ),
        sa.ForeignKeyConstraint(
            ["sender_id"], ["senders.id"], name=op.f("fk_sender_controllers_sender_id_senders")
        ),
        sa.PrimaryKeyConstraint("sender_id", "organisation_id", name=op.f("pk_sender_controllers")),
    )
    op.create_index(
        op.f("ix_sender_controllers_organisation_id"), "sender_controllers", ["organisation_id"], unique=False
    )
    op.create_table(
        "sender_pace",
        sa.Column("sender_id", sa.Integer(), nullable=False),
        sa.Column("free_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.id"], name=op.f("fk_sender_pace_sender_id_senders")),
        sa.PrimaryKeyConstraint("sender_id", name=op.f("pk_sender_pace")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "suppressions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("digest_key", sa.SmallInteger(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=True),
        sa.Column("topic", sa.Text(), nullable=True),
        sa.Column("sender_id", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lifted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "reason IN ('stop', 'left', 'bounce', 'complaint', 'unsubscribe', 'provider', 'imported')",
            name=op.f("ck_suppressions_reason"),
        ),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_suppressions_controller_id_organisations")
        ),
        sa.ForeignKeyConstraint(
            ["sender_id"], ["senders.id"], name=op.f("fk_suppressions_sender_id_senders")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_suppressions")),
    )
    op.create_index(
        "ix_suppressions_now",
        "suppressions",
        ["digest", "channel", "controller_id", "topic", "sender_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "dispatches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("alert_id", sa.Uuid(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("send_token", sa.Text(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("exercise", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("recipients", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("frozen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('running', 'stopped', 'done')", name=op.f("ck_dispatches_state")),
        sa.ForeignKeyConstraint(["alert_id"], ["alerts.id"], name=op.f("fk_dispatches_alert_id_alerts")),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_dispatches_controller_id_organisations")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dispatches")),
        sa.UniqueConstraint("send_token", name=op.f("uq_dispatches_send_token")),
    )
    op.create_index(op.f("ix_dispatches_alert_id"), "dispatches", ["alert_id"], unique=False)
    op.create_index(op.f("ix_dispatches_controller_id"), "dispatches", ["controller_id"], unique=False)
    op.create_index(
        "ix_dispatches_open",
        "dispatches",
        ["id"],
        unique=False,
        postgresql_where=sa.text("finished_at IS NULL"),
    )
    op.create_table(
        "person_contact_points",
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact_points.id"],
            name=op.f("fk_person_contact_points_contact_id_contact_points"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["people.id"],
            name=op.f("fk_person_contact_points_person_id_people"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("person_id", "contact_id", name=op.f("pk_person_contact_points")),
    )
    op.create_index(
        op.f("ix_person_contact_points_contact_id"), "person_contact_points", ["contact_id"], unique=False
    )
    op.create_table(
        "places",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("postcode", sa.Text(), nullable=True),
        sa.Column("at", db.GridPoint(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind <> 'pin' OR at IS NOT NULL", name=op.f("ck_places_pin")),
        sa.CheckConstraint("kind <> 'postcode' OR postcode IS NOT NULL", name=op.f("ck_places_postcode")),
        sa.CheckConstraint("kind IN ('postcode', 'pin', 'ward')", name=op.f("ck_places_kind")),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_places_controller_id_organisations")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"], ["people.id"], name=op.f("fk_places_person_id_people"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_places")),
    )
    op.create_index("ix_places_at", "places", ["at"], unique=False, postgresql_using="gist")
    op.create_index(op.f("ix_places_controller_id"), "places", ["controller_id"], unique=False)
    op.create_index(op.f("ix_places_person_id"), "places", ["person_id"], unique=False)
    op.create_index("ix_places_postcode", "places", ["postcode"], unique=False)
    op.create_table(
        "batches",
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("sender_id", sa.Integer(), nullable=False),
        sa.Column("lane", sa.SmallInteger(), nullable=False),
        sa.Column("urgency", sa.Text(), nullable=False),
        sa.Column("exercise", sa.Boolean(), nullable=False),
        sa.Column("contact_ids", postgresql.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("size", sa.SmallInteger(), nullable=False),
        sa.Column("reserved_segments", sa.Integer(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("tries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("accepted", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("delivered", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("bounced", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("complained", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("refused", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("stopped", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("erased", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("expired", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("in_doubt", sa.SmallInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("state IN ('waiting', 'claimed', 'done')", name=op.f("ck_batches_state")),
        sa.CheckConstraint(
            "size BETWEEN 1 AND 1000 AND size = cardinality(contact_ids)", name=op.f("ck_batches_size")
        ),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_batches_controller_id_organisations")
        ),
        sa.ForeignKeyConstraint(
            ["dispatch_id"], ["dispatches.id"], name=op.f("fk_batches_dispatch_id_dispatches")
        ),
        sa.ForeignKeyConstraint(["sender_id"], ["senders.id"], name=op.f("fk_batches_sender_id_senders")),
        sa.PrimaryKeyConstraint("dispatch_id", "n", name=op.f("pk_batches")),
        postgresql_with={"fillfactor": 70},
    )
    op.create_index(
        "ix_batches_claimed",
        "batches",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("state = 'claimed'"),
    )
    op.create_index(
        "ix_batches_open",
        "batches",
        ["dispatch_id"],
        unique=False,
        postgresql_where=sa.text("state <> 'done'"),
    )
    op.create_index(
        "ix_batches_waiting",
        "batches",
        ["lane", "n", "dispatch_id"],
        unique=False,
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "dispatch_contents",
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=False),
        sa.Column("sender_kind", sa.Text(), nullable=False),
        sa.Column("nonce", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), server_default="", nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("html", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["dispatch_id"], ["dispatches.id"], name=op.f("fk_dispatch_contents_dispatch_id_dispatches")
        ),
        sa.PrimaryKeyConstraint(
            "dispatch_id", "channel", "language", "sender_kind", name=op.f("pk_dispatch_contents")
        ),
    )
    op.create_table(
        "place_areas",
        sa.Column("place_id", sa.Uuid(), nullable=False),
        sa.Column("area_id", sa.Integer(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("valid_to", sa.Date(), nullable=True),
        sa.Column("release_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["area_id"], ["areas.id"], name=op.f("fk_place_areas_area_id_areas")),
        sa.ForeignKeyConstraint(
            ["place_id"], ["places.id"], name=op.f("fk_place_areas_place_id_places"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name=op.f("fk_place_areas_release_id_releases")
        ),
        sa.PrimaryKeyConstraint("place_id", "area_id", "valid_from", name=op.f("pk_place_areas")),
    )
    op.create_index(
        "ix_place_areas_now",
        "place_areas",
        ["area_id", "place_id"],
        unique=True,
        postgresql_where=sa.text("valid_to IS NULL"),
    )
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("place_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("controller_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["contact_id"],
            ["contact_points.id"],
            name=op.f("fk_subscriptions_contact_id_contact_points"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["controller_id"], ["organisations.id"], name=op.f("fk_subscriptions_controller_id_organisations")
        ),
        sa.ForeignKeyConstraint(
            ["place_id"], ["places.id"], name=op.f("fk_subscriptions_place_id_places"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
    )
    op.create_index("ix_subscriptions_contact", "subscriptions", ["contact_id"], unique=False)
    op.create_index("ix_subscriptions_place", "subscriptions", ["place_id"], unique=False)
    op.create_index(
        "ix_subscriptions_now",
        "subscriptions",
        ["place_id", "topic", "contact_id"],
        unique=True,
        postgresql_where=sa.text("ended_at IS NULL"),
    )
    op.create_table(
        "attempts",
        sa.Column("dispatch_id", sa.Uuid(), nullable=False),
        sa.Column("batch_n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("sender_id", sa.Integer(), nullable=False),
        sa.Column("ordinal_from", sa.SmallInteger(), nullable=False),
        sa.Column("ordinal_to", sa.SmallInteger(), nullable=False),
        sa.Column(
            "opened_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("provider_ref", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("lease_token", sa.Uuid(), nullable=False),
        sa.CheckConstraint(
            "outcome IN ('taken', 'not_taken', 'in_doubt', 'refused')", name=op.f("ck_attempts_outcome")
        ),
        sa.CheckConstraint("(closed_at IS NULL) = (outcome IS NULL)", name=op.f("ck_attempts_closed")),
        sa.ForeignKeyConstraint(
            ["dispatch_id", "batch_n"],
            ["batches.dispatch_id", "batches.n"],
            name=op.f("fk_attempts_dispatch_id_batch_n_batches"),
        ),
        sa.PrimaryKeyConstraint("dispatch_id", "batch_n", "n", name=op.f("pk_attempts")),
    )
    op.create_index(
        "ix_attempts_open",
        "attempts",
        ["dispatch_id", "batch_n"],
        unique=False,
        postgresql_where=sa.text("closed_at IS NULL"),
    )
    for statement in (
        *ground_sql.PARTITIONS,
        *ground_sql.CONSENT_GUARD,
        *ground_sql.grants(),
        *audit_sql.audit_ddl(),
    ):
        op.execute(statement)


def downgrade() -> None:
    for statement in audit_sql.audit_drop():
        op.execute(statement)
    op.execute("DROP TABLE " + ", ".join(TABLES) + " CASCADE")
    op.execute("DROP FUNCTION ledger_make_partitions(integer), consents_guard()")
