"""Made-up cameras for benchmarks: placed as London's postcodes are, each with an owner of its own."""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sa

BLOCK = 100_000
# Kind, field of view, reach, days kept, sees by night: as owners mostly have them.
_KINDS = """
    (VALUES (0, 'doorbell', 120, 12, 30, true), (1, 'doorbell', 150, 10, 14, true), (2, 'fixed', 90, 25, 30, true),
        (3, 'fixed', 110, 20, 7, false), (4, 'ptz', 360, 50, 31, true), (5, 'business', 100, 40, 31, true),
        (6, 'dash-cam', 130, 30, 2, false), (7, 'fixed', 80, 35, 14, true))
    AS k (n, kind, field, reach, days_kept, night)
"""
_SPOTS = sa.text(
    """
    CREATE TEMPORARY TABLE spots AS
    SELECT row_number() OVER (ORDER BY postcode) AS n, postcode, at, ward_code FROM postcodes WHERE live
    """
)
_CONTACTS = sa.text(
    """
    INSERT INTO contact_points
        (id, channel, address_enc, digest, digest_key, form_version, synthetic, confirmed_at)
    SELECT i, 'email', :sealed, sha256(convert_to('camera' || i, 'UTF8')), 1, 1, true, now()
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) i
    """
)
_OWNERS = sa.text(
    """
    INSERT INTO camera_owners (id, controller_id, contact_id, name_enc, state, confirmed_at, renew_by)
    SELECT md5('owner' || i)::uuid, :controller, i, :sealed, 'active', now(), now() + interval '1 year'
    FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) i
    """
)
# A camera hangs within forty metres of its postcode's middle.
_CAMERAS = sa.text(
    f"""
    INSERT INTO cameras (id, owner_id, kind, postcode, at, bearing, field, reach, sector, height, night, covers,
        days_kept, cell_id, ward_code, live)
    SELECT md5('camera' || c.i)::uuid, md5('owner' || c.i)::uuid, k.kind, c.postcode, c.spot, c.bearing, k.field, k.reach,
        register.sector(c.spot, c.bearing, k.field, k.reach), 250, k.night, 'street', k.days_kept, l.id, c.ward_code,
        true
    FROM (
        SELECT i, s.postcode, s.ward_code, floor(random() * 360)::integer AS bearing,
            point(s.at[0] + random() * 80 - 40, s.at[1] + random() * 80 - 40) AS spot
        FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) i JOIN spots s ON s.n = 1 + (i * 7919) % :spots
    ) c
    JOIN {_KINDS} ON k.n = c.i % 8
    CROSS JOIN LATERAL (
        SELECT id FROM register_cells r
        WHERE r.outline @> box(c.spot, c.spot) AND c.spot[0] >= r.west AND c.spot[0] < r.east
            AND c.spot[1] >= r.south AND c.spot[1] < r.north
        LIMIT 1
    ) l
    """
)


def settle(
    owner: sa.Engine, controller: object, count: int, progress: Callable[[int], None] = lambda _: None
) -> int:
    """``count`` cameras at live postcodes of a loaded London with its cells; how many there are then.

    By the owner's role: nobody else may write them, and none of this passes the gate.
    """
    sealed = b"\x00" * 40  # nobody reads it
    with owner.connect() as connection:
        connection.execute(_SPOTS)
        spots = connection.execute(sa.text("SELECT count(*) FROM spots")).scalar_one()
        connection.execute(sa.text("CREATE UNIQUE INDEX ON spots (n)"))
        connection.execute(sa.text("ANALYZE spots, register_cells"))
        connection.execute(sa.text("SELECT setseed(0.26)"))
        connection.commit()
        for first in range(1, count + 1, BLOCK):
            values = {
                "first": first,
                "last": min(first + BLOCK - 1, count),
                "sealed": sealed,
                "controller": controller,
                "spots": spots,
            }
            for statement in (_CONTACTS, _OWNERS, _CAMERAS):
                connection.execute(statement, values)
            connection.commit()
            progress(values["last"])
        return int(connection.execute(sa.text("SELECT count(*) FROM cameras WHERE live")).scalar_one())
