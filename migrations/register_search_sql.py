"""Searches of the register, opened: everything is checked, and put on the record. And leave to go beyond a cap.

The shape comes as the geometry has it (``register_geometry_sql``). SQLSTATEs: WR001 who, WR011 step up, WR002 ticket,
WR003 shape, WR004 cap, WR005 case, purpose or reason, WR006 window, WR007 missing; DETAIL says which.
"""

from __future__ import annotations

from migrations.ground_sql import APP
from migrations.register_gate_sql import function, opened

# Square kilometres, hours, searches an hour of one person.
MOST_SIZE, MOST_WINDOW, MOST_SEARCHES = 1.3, "12 hours", 60
# With a supervisor's leave: the shape then is bound by the geometry alone.
MOST_WINDOW_LIFTED = "7 days"
# No camera keeps footage for longer, and none has it of tomorrow; clocks differ a little.
OLDEST, NEWEST = "366 days", "5 minutes"
# Metres: no camera reaches further, so none of a cell beyond that sees a spot.
REACH = 300
SHORTEST_REASON, LONGEST_REASON = 10, 500
LIFT_LIVES = "24 hours"
CASE = "^[A-Z0-9][A-Z0-9/-]{3,39}$"
PURPOSES = ("prevention", "investigation", "detection", "prosecution", "safeguarding")
_SHAPE = "kind text, centre point, radius float8, outline polygon, route path"


def _refuse(state: str, detail: str, message: str) -> str:
    return f"RAISE EXCEPTION '{message}' USING ERRCODE = '{state}', DETAIL = '{detail}';"


# The codes of where somebody works today, as `app.access.codes_of` has them.
_WARDS = """
    BEGIN
        RETURN ARRAY (
            WITH RECURSIVE roots AS (
                SELECT unnest(areas) AS id
                UNION
                SELECT CASE a.kind WHEN 'ward' THEN a.parent_id ELSE a.id END
                FROM public.team_areas t JOIN public.areas a ON a.id = t.area_id WHERE t.team_id = ANY (teams)
            ), mine AS (
                SELECT a.id FROM roots r JOIN public.areas a ON a.id = r.id WHERE a.valid_to IS NULL
                UNION
                SELECT a.id FROM public.areas a JOIN mine ON a.parent_id = mine.id WHERE a.valid_to IS NULL
            )
            SELECT DISTINCT a.code FROM public.areas a
            WHERE a.id IN (SELECT m.id FROM mine m) OR a.parent_id IN (SELECT m.id FROM mine m)
        );
    END
"""

# Neighbours that a square only meets at an edge are not touched.
_TOUCHED = """
    DECLARE
        margin float8 := further - 0.001;
    BEGIN
        RETURN ARRAY (
            SELECT DISTINCT k.id
            FROM register.squares(_touched.kind, _touched.centre, _touched.radius, _touched.outline, _touched.route)
                AS s (square)
            JOIN public.register_cells k ON k.outline &&
                box(s.square[1] - point(margin, margin), s.square[0] + point(margin, margin))
            ORDER BY k.id
        );
    END
"""

# A cell is somebody's to search when a postcode in it is: cells know no boundaries. One whose postcodes have all ended
# goes by the nearest.
_OUTSIDE = """
    BEGIN
        RETURN EXISTS (
            SELECT FROM unnest(cells) AS c (id) JOIN public.register_cells k ON k.id = c.id
            WHERE NOT EXISTS (
                SELECT FROM public.postcodes p
                WHERE p.at <@ k.outline AND p.live AND p.ward_code = ANY (wards)
            ) AND NOT (
                NOT EXISTS (SELECT FROM public.postcodes p WHERE p.at <@ k.outline AND p.live)
                AND (
                    SELECT p.ward_code FROM public.postcodes p WHERE p.live ORDER BY p.at <-> center(k.outline) LIMIT 1
                ) = ANY (wards)
            )
        );
    END
"""

_CASE_OF = f"""
    DECLARE
        pattern text := coalesce(
            (SELECT s.case_pattern FROM public.register_settings s WHERE s.organisation_id = organisation), '{CASE}');
        found record;
    BEGIN
        IF reference IS NULL OR length(reference) > 40 OR reference !~ pattern THEN
            {_refuse("WR005", "reference", "no case reference of this organisation")}
        END IF;
        INSERT INTO public.investigations (id, organisation_id, reference, opened_by)
        VALUES (gen_random_uuid(), organisation, _case_of.reference, staff)
        ON CONFLICT ON CONSTRAINT uq_investigations_organisation_id_reference DO NOTHING;
        SELECT i.id, i.closed_at INTO found FROM public.investigations i
        WHERE i.organisation_id = organisation AND i.reference = _case_of.reference;
        IF found.closed_at IS NOT NULL THEN
            {_refuse("WR005", "closed", "the case is closed")}
        END IF;
        RETURN found.id;
    END
"""

_REASON = f"""
    BEGIN
        IF reason IS NULL OR length(btrim(reason)) NOT BETWEEN {SHORTEST_REASON} AND {LONGEST_REASON} THEN
            {_refuse("WR005", "reason", "no reason")}
        END IF;
    END
"""

_LIFT_OF = """
    DECLARE
        found uuid;
    BEGIN
        SELECT l.id INTO found FROM public.register_lifts l
        WHERE l.staff_id = staff AND l.investigation_id = investigation AND l.cap = wanted
            AND l.used_at IS NULL AND l.expires_at > clock_timestamp()
        ORDER BY l.expires_at, l.id LIMIT 1 FOR UPDATE;
        UPDATE public.register_lifts SET used_at = clock_timestamp() WHERE id = found;
        RETURN found;
    END
"""

_OPEN = f"""
    DECLARE
        who record;
        moment timestamptz;
        investigation uuid;
        size float8;
        target integer[];
        cells integer[];
        lift uuid;
        beyond text;
        entry bigint;
        given record;
        made uuid := gen_random_uuid();
    BEGIN
        SELECT * INTO who FROM register._who(token, ARRAY['investigator'], true);
        -- One at a time of each person, or two at once would both be the last that is allowed.
        PERFORM pg_advisory_xact_lock(hashtext('wardlink.register.person'), hashtext(CAST(who.staff_id AS text)));
        moment := clock_timestamp();
        IF (SELECT count(*) FROM public.register_searches s
            WHERE s.staff_id = who.staff_id AND s.opened_at > moment - interval '1 hour') >= {MOST_SEARCHES}
        THEN
            {_refuse("WR004", "searches", "too many searches within an hour")}
        END IF;
        PERFORM register._reason(reason);
        IF purpose IS NULL OR purpose <> ALL (ARRAY{list(PURPOSES)}) THEN
            {_refuse("WR005", "purpose", "no lawful purpose")}
        END IF;
        investigation := register._case_of(who.organisation_id, reference, who.staff_id);

        IF window_from IS NULL OR window_to IS NULL OR window_to <= window_from THEN
            {_refuse("WR006", "order", "the window ends before it begins")}
        ELSIF window_to > moment + interval '{NEWEST}' THEN
            {_refuse("WR006", "future", "the window is not over")}
        ELSIF window_from < moment - interval '{OLDEST}' THEN
            {_refuse("WR006", "old", "no camera keeps footage for so long")}
        END IF;

        -- What a kind does not use is not looked at by anything that follows.
        radius := CASE WHEN kind IN ('radius', 'route') THEN radius END;
        route := CASE WHEN kind = 'route' THEN route END;
        outline := CASE WHEN kind IN ('area', 'view') THEN outline END;
        centre := CASE WHEN kind = 'radius' OR (kind = 'view' AND outline IS NULL) THEN centre END;
        size := register.size(kind, centre, radius, outline, route);
        IF size > {MOST_SIZE} THEN
            beyond := 'area';
        END IF;
        IF window_to - window_from > interval '{MOST_WINDOW}' THEN
            IF beyond IS NOT NULL OR window_to - window_from > interval '{MOST_WINDOW_LIFTED}' THEN
                {_refuse("WR004", "both", "beyond what a supervisor may allow")}
            END IF;
            beyond := 'window';
        END IF;
        IF beyond IS NOT NULL THEN
            lift := register._lift_of(who.staff_id, investigation, beyond);
            IF lift IS NULL THEN
                RAISE EXCEPTION 'beyond a cap' USING ERRCODE = 'WR004', DETAIL = beyond;
            END IF;
        END IF;

        target := register._touched(kind, centre, radius, outline, route, 0);
        IF cardinality(target) = 0 THEN
            {_refuse("WR003", "nowhere", "no cells there")}
        END IF;
        IF NOT who.everywhere AND register._outside(target, register._wards(who.areas, who.teams)) THEN
            {_refuse("WR003", "outside", "not within the area of the role")}
        END IF;
        cells := CASE WHEN kind = 'view' THEN register._touched(kind, centre, radius, outline, route, {REACH})
            ELSE target END;

        entry := register._record('register:search', 'search:' || made, 'staff', CAST(who.staff_id AS text),
            who.organisation_id,
            (SELECT p.ward_code FROM public.postcodes p WHERE p.live
                ORDER BY p.at <-> center(register.bounds(kind, centre, radius, outline, route)) LIMIT 1),
            'consultation', btrim(reason), origin,
            format('{{"cells":%s,"investigation":"%s","kind":"%s","lift":%s,"purpose":"%s","size":%s}}',
                cardinality(cells), investigation, kind, coalesce('"' || lift || '"', 'null'), purpose,
                CAST(round(size * 1e6) AS bigint)));
        SELECT * INTO given FROM register._number();
        INSERT INTO public.register_searches
            (id, entry_id, organisation_id, staff_id, investigation_id, purpose, reason_enc, kind, centre, radius,
             outline, route, size, window_from, window_to, cells, lift_id, number, saw, opened_xid, opened_at)
        VALUES (made, entry, who.organisation_id, who.staff_id, investigation, purpose, reason_enc, kind, centre,
            radius, outline, route, size, window_from, window_to, cells, lift, given.number, given.saw,
            pg_current_xact_id(), clock_timestamp());
        RETURN made;
    END
"""

_GIVE = f"""
    DECLARE
        who record;
        investigation uuid;
        made uuid := gen_random_uuid();
    BEGIN
        SELECT * INTO who FROM register._who(token, ARRAY['supervisor'], true);
        PERFORM register._reason(reason);
        IF cap IS NULL OR cap NOT IN ('area', 'window', 'requests') THEN
            {_refuse("WR005", "cap", "no such cap")}
        END IF;
        IF staff IS NULL OR staff = who.staff_id OR NOT EXISTS (
            SELECT FROM public.staff t JOIN public.role_grants g ON g.staff_id = t.id
            WHERE t.id = staff AND t.organisation_id = who.organisation_id AND t.state = 'active'
                AND g.role = 'investigator' AND g.organisation_id = who.organisation_id AND g.taken_at IS NULL
                AND g.starts_at <= clock_timestamp() AND g.ends_at > clock_timestamp())
        THEN
            {_refuse("WR007", "staff", "no such investigator")}
        END IF;
        investigation := register._case_of(who.organisation_id, reference, who.staff_id);
        INSERT INTO public.register_lifts
            (id, organisation_id, staff_id, investigation_id, cap, reason, given_by, given_at, expires_at)
        VALUES (made, who.organisation_id, staff, investigation, cap, btrim(reason), who.staff_id, clock_timestamp(),
            clock_timestamp() + interval '{LIFT_LIVES}');
        PERFORM register._record('register:lift', 'lift:' || made, 'staff', CAST(who.staff_id AS text),
            who.organisation_id, NULL, NULL, btrim(reason), origin,
            format('{{"cap":"%s","investigation":"%s","staff":"%s"}}', cap, investigation, staff));
        RETURN made;
    END
"""

_OPEN_TYPES = (
    "text, text, text, text, bytea, text, point, float8, polygon, path, timestamptz, timestamptz, text"
)
# name → argument types, of all that is made here, in this order.
_MADE = {
    "_wards": "integer[], uuid[]",
    "_touched": "text, point, float8, polygon, path, float8",
    "_outside": "integer[], text[]",
    "_case_of": "uuid, text, uuid",
    "_reason": "text",
    "_lift_of": "uuid, uuid, text",
    "open_search": _OPEN_TYPES,
    "give_lift": "text, uuid, text, text, text, text",
}


def functions() -> list[str]:
    """Searching and lifting, for the app to call."""
    return [
        function("_wards(areas integer[], teams uuid[])", "text[]", _WARDS),
        function(f"_touched({_SHAPE}, further float8)", "integer[]", _TOUCHED),
        function("_outside(cells integer[], wards text[])", "boolean", _OUTSIDE),
        function("_case_of(organisation uuid, reference text, staff uuid)", "uuid", _CASE_OF),
        function("_reason(reason text)", "void", _REASON),
        function("_lift_of(staff uuid, investigation uuid, wanted text)", "uuid", _LIFT_OF),
        function(
            f"open_search(token text, reference text, purpose text, reason text, reason_enc bytea, {_SHAPE}, "
            "window_from timestamptz, window_to timestamptz, origin text)",
            "uuid",
            _OPEN,
        ),
        function(
            "give_lift(token text, staff uuid, reference text, cap text, reason text, origin text)",
            "uuid",
            _GIVE,
        ),
        *(opened(f"{name}({_MADE[name]})", APP) for name in _MADE if not name.startswith("_")),
    ]
