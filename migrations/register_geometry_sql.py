"""The register's geometry: SQL functions over PostgreSQL's own point, box, path and polygon, in metres of the British
National Grid. They read no table.

Those called for every camera (`sees`, `within`, `may_see`) are single expressions that PostgreSQL writes into the query
that calls them. A `SET search_path` would forbid that, and is not needed: bodies written with RETURN are bound to what
they name when they are made. Functions in PL/pgSQL, whose text is read when they run, carry a fixed search path.

Shapes come as (kind, centre, radius, outline, route); what a kind does not use is never looked at:
  radius: the disc round `centre` · area: `outline` · route: whatever lies within `radius` of the open path `route` ·
  view: the spot `centre`, or `outline` where one is given.
"""

from __future__ import annotations

# Metres: the side of the squares that query shapes are snapped outwards to, and the longest side of a shape's box.
SQUARE, LONGEST = 100, 5_000
# More corners than anybody draws would only cost time.
MOST_CORNERS = 200
# A square counts as touched when the shape passes it by less: rounding must never leave one out.
SLACK = 0.001
# An outline of a sector is drawn round a slightly larger one (`geo.sector`).
SECTOR_SLACK, SECTOR_STEP = 0.01, 10
# `size`: this many touched squares are free, of the others a third counts.
FREE_SQUARES, SHARE = 12, "1.0 / 3.0"
# Square metres.
ENOUGH = 5_000_000
# `size`: so many spots are tried, and what they find counts a little less, for chance must not exceed the truth.
SPOTS, SURE = 2_000, 0.97

SHAPE = "kind text, centre point, radius float8, outline polygon, route path"
_GIVEN = "kind, centre, radius, outline, route"
_PURE = "LANGUAGE sql IMMUTABLE PARALLEL SAFE"
_PLPGSQL = "LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp"

# The position itself is seen; the edges belong to the sector.
_SEES = """
    (at <-> spot) <= reach AND (field >= 360 OR
        (spot[0] - at[0]) * sind(bearing) + (spot[1] - at[1]) * cosd(bearing) >= (at <-> spot) * cosd(field / 2))
"""

# The same as `geo.sector.outline`: an apex a little behind the camera, and corners outside the arc between tangents.
_SECTOR = f"""
    SELECT CAST('(' || string_agg('(' || x || ',' || y || ')', ',' ORDER BY n) || ')' AS polygon)
    FROM (
        SELECT n,
            at[0] + away * sind(angle) - CASE WHEN field < 360 THEN {SECTOR_SLACK} * sind(bearing) ELSE 0 END AS x,
            at[1] + away * cosd(angle) - CASE WHEN field < 360 THEN {SECTOR_SLACK} * cosd(bearing) ELSE 0 END AS y
        FROM (SELECT CAST(greatest(1, ceil(field / {SECTOR_STEP})) AS integer) AS steps) s,
        LATERAL (
            SELECT -1 AS n, bearing AS angle, CAST(0 AS float8) AS away WHERE field < 360
            UNION ALL SELECT 0, bearing - field / 2, reach + {2 * SECTOR_SLACK} WHERE field < 360
            UNION ALL SELECT n, bearing - field / 2 + (n - 0.5) * (field / steps),
                (reach + {2 * SECTOR_SLACK}) / cosd(field / steps / 2) FROM generate_series(1, steps) AS n
            UNION ALL SELECT steps + 1, bearing + field / 2, reach + {2 * SECTOR_SLACK} WHERE field < 360
        ) c
    ) corners
"""

# A path of one point is at no distance from anything to PostgreSQL, and NaN is more than every distance: neither may
# match anything.
_WITHIN = """
    CASE kind
        WHEN 'radius' THEN (centre <-> spot) <= radius AND radius <= 5000
        WHEN 'area' THEN outline @> spot
        WHEN 'route' THEN npoints(route) > 1 AND (route <-> spot) <= radius AND radius <= 5000
        ELSE false
    END
"""

# Refuses what is no honest shape, before any work is done for it.
_BOUNDS = f"""
    DECLARE
        found box;
        margin float8 := 0;
    BEGIN
        IF kind = 'radius' THEN
            found := box(centre, centre);
            margin := radius;
        ELSIF kind = 'area' OR (kind = 'view' AND outline IS NOT NULL) THEN
            IF npoints(outline) NOT BETWEEN 3 AND {MOST_CORNERS} THEN
                RAISE EXCEPTION 'an area has 3 to {MOST_CORNERS} corners' USING ERRCODE = 'WR003';
            END IF;
            found := box(outline);
        ELSIF kind = 'route' THEN
            IF NOT isopen(route) OR npoints(route) NOT BETWEEN 2 AND {MOST_CORNERS} THEN
                RAISE EXCEPTION 'a route is open and has 2 to {MOST_CORNERS} points' USING ERRCODE = 'WR003';
            END IF;
            found := box(polygon(pclose(route)));
            margin := radius;
        ELSIF kind = 'view' THEN
            found := box(centre, centre);
        ELSE
            RAISE EXCEPTION 'a shape of no known kind' USING ERRCODE = 'WR003';
        END IF;
        -- NaN is greater than every number to PostgreSQL, and so is no coordinate of Great Britain.
        IF found IS NULL OR margin IS NULL OR margin < 0 OR margin > {LONGEST}
            OR (kind IN ('radius', 'route') AND margin <= 0)
            OR (found[1])[0] NOT BETWEEN -10000 AND 710000 OR (found[0])[0] NOT BETWEEN -10000 AND 710000
            OR (found[1])[1] NOT BETWEEN -10000 AND 1310000 OR (found[0])[1] NOT BETWEEN -10000 AND 1310000
        THEN
            RAISE EXCEPTION 'a shape without place or size' USING ERRCODE = 'WR003';
        END IF;
        found := box(found[1] - point(margin, margin), found[0] + point(margin, margin));
        IF width(found) > {LONGEST} OR height(found) > {LONGEST} THEN
            RAISE EXCEPTION 'a shape is longer than {LONGEST} m' USING ERRCODE = 'WR003';
        END IF;
        RETURN found;
    END
"""

_GRID = f"""
    SELECT s.square FROM (
        SELECT box(point(x, y), point(x + {SQUARE}, y + {SQUARE})) AS square
        FROM generate_series({SQUARE} * (ceil((low[0] - {SLACK}) / {SQUARE}) - 1)::integer,
                {SQUARE} * floor((high[0] + {SLACK}) / {SQUARE})::integer, {SQUARE}) AS x,
            generate_series({SQUARE} * (ceil((low[1] - {SLACK}) / {SQUARE}) - 1)::integer,
                {SQUARE} * floor((high[1] + {SLACK}) / {SQUARE})::integer, {SQUARE}) AS y
    ) s
"""
_OUTLINE_TOUCHES = f"""
    polygon(box(s.square[1] - point({SLACK}, {SLACK}), s.square[0] + point({SLACK}, {SLACK}))) && outline
"""
_SQUARES = f"""
    DECLARE
        bounds box := register.bounds({_GIVEN});
        low point := bounds[1];
        high point := bounds[0];
    BEGIN
        IF kind = 'route' THEN
            -- Most are decided by the way from the middle of the square: half its side within, half its diagonal beyond.
            RETURN QUERY {_GRID}, LATERAL (SELECT route <-> center(s.square) AS away) m
            WHERE m.away <= radius + {SQUARE / 2} OR (m.away <= radius + {SQUARE / 2 * 1.4143} AND (
                (route <-> path(polygon(s.square))) <= radius + {SLACK} OR s.square @> box(polygon(pclose(route)))));
        ELSIF kind = 'area' OR (kind = 'view' AND outline IS NOT NULL) THEN
            RETURN QUERY {_GRID} WHERE {_OUTLINE_TOUCHES};
        ELSE
            RETURN QUERY {_GRID} WHERE (centre <-> s.square) <= {SLACK} + CASE kind WHEN 'radius' THEN radius ELSE 0 END;
        END IF;
    END
"""

# Square kilometres. A disc is exact. An area is the largest of: what its corners enclose (exact for an honest outline;
# a bow-tie's halves cancel), what spots scattered over the touched squares find to lie inside, and a share of those
# squares (a thin zigzag encloses nothing and touches many). A route is the smaller of its length times its width (exact
# when it is straight, too much where it overlaps itself) and what the spots find; and again that share.
# The share never decides for a route of 35 m and more to either side; a narrower one may count as if it were wider.
# A shape so long and thin that its share is beyond every cap is not looked at more closely.
# The spots are a lattice whose rows and columns are shifted by the golden ratio, so that no straight edge follows it.
_GOLDEN = "0.6180339887498949"
_SIZE = f"""
    DECLARE
        bounds box := register.bounds({_GIVEN});
        touched box[];
        side integer;
        step float8;
        found float8;
        share float8;
    BEGIN
        IF kind = 'radius' THEN
            RETURN pi() * radius * radius / 1e6;
        ELSIF kind = 'view' AND outline IS NULL THEN
            RETURN 0;
        END IF;
        SELECT array_agg(s) INTO touched FROM register.squares({_GIVEN}) AS s;
        share := greatest(0, cardinality(touched) - {FREE_SQUARES}) * {SQUARE * SQUARE} * {SHARE};
        IF share > {ENOUGH} THEN
            RETURN greatest(share, CASE kind WHEN 'route' THEN 0 ELSE area(path(outline)) END) / 1e6;
        END IF;
        side := greatest(4, least(20, floor(sqrt({SPOTS} / cardinality(touched)))));
        step := {SQUARE} / CAST(side AS float8);
        SELECT count(*) * step * step INTO found
        FROM unnest(touched) AS t(square), generate_series(0, side - 1) AS i, generate_series(0, side - 1) AS j,
        LATERAL (SELECT (t.square[1])[0] / step + i AS across, (t.square[1])[1] / step + j AS up) n,
        LATERAL (SELECT point((across + up * {_GOLDEN} - floor(up * {_GOLDEN})) * step,
            (up + across * {_GOLDEN} - floor(across * {_GOLDEN})) * step) AS spot) p
        WHERE CASE WHEN kind = 'route' THEN (route <-> spot) <= radius ELSE outline @> spot END;
        IF kind = 'route' THEN
            found := least(found, (@-@ route) * 2 * radius + pi() * radius * radius);
        ELSE
            found := greatest(found * {SURE}, area(path(outline)));
        END IF;
        RETURN greatest(found, share) / 1e6;
    END
"""


def _may_see() -> str:
    """Whether some way from a spot of the cell to a spot of the target is one that the camera looks along.

    All such ways are the rectangle of differences between the two. It is cut to the reach; the wedge between the two
    edges of the view meets what is left unless a line of either parts them. That is exact for wedge and disc each, and
    a little generous for both together.
    """
    west, east = "((target[1])[0] - (cell[0])[0])", "((target[0])[0] - (cell[1])[0])"
    south, north = "((target[1])[1] - (cell[0])[1])", "((target[0])[1] - (cell[1])[1])"
    left, right = f"greatest({west}, -reach)", f"least({east}, reach)"
    low, high = f"greatest({south}, -reach)", f"least({north}, reach)"
    first, last = "bearing - field / 2", "bearing + field / 2"
    after_first = (
        f"greatest(cosd({first}) * {left}, cosd({first}) * {right})"
        f" - least(sind({first}) * {low}, sind({first}) * {high}) >= -1e-6"
    )
    before_last = (
        f"greatest(sind({last}) * {low}, sind({last}) * {high})"
        f" - least(cosd({last}) * {left}, cosd({last}) * {right}) >= -1e-6"
    )
    wide = "sind(field / 2) >= -1e-6"
    return f"""
        (point(0, 0) <-> box(point({west}, {south}), point({east}, {north}))) <= reach + 1e-6
        AND CASE
            WHEN field >= 360 THEN true
            WHEN field > 180 THEN {after_first} OR {before_last}
            ELSE {after_first} AND {before_last}
                AND ({west} <= 0 OR sind(bearing) + {wide})
                AND ({east} >= 0 OR -sind(bearing) + {wide})
                AND ({south} <= 0 OR cosd(bearing) + {wide})
                AND ({north} >= 0 OR -cosd(bearing) + {wide})
        END
    """


# For many squares. Names are complete, so this needs no search path and does not pay for setting one.
_MAY_SEE_ANY = """
    DECLARE
        square pg_catalog.box;
    BEGIN
        FOREACH square IN ARRAY squares LOOP
            IF register.may_see(cell, bearing, field, reach, square) THEN
                RETURN true;
            END IF;
        END LOOP;
        RETURN false;
    END
"""

_CAMERA = "at point, bearing float8, field float8, reach float8"
_VIEW = "cell box, bearing float8, field float8, reach float8"

# In this order they can be made.
FUNCTIONS = (
    f"CREATE FUNCTION register.sees({_CAMERA}, spot point) RETURNS boolean {_PURE} RETURN ({_SEES})",
    f"CREATE FUNCTION register.sector({_CAMERA}) RETURNS polygon {_PURE} STRICT RETURN ({_SECTOR})",
    f"CREATE FUNCTION register.within({SHAPE}, spot point) RETURNS boolean {_PURE} RETURN ({_WITHIN})",
    f"CREATE FUNCTION register.may_see({_VIEW}, target box) RETURNS boolean {_PURE} RETURN ({_may_see()})",
    (
        f"CREATE FUNCTION register.may_see({_VIEW}, squares box[]) RETURNS boolean"
        f" LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE STRICT AS $${_MAY_SEE_ANY}$$"
    ),
    f"CREATE FUNCTION register.bounds({SHAPE}) RETURNS box {_PLPGSQL} AS $${_BOUNDS}$$",
    f"CREATE FUNCTION register.squares({SHAPE}) RETURNS SETOF box {_PLPGSQL} ROWS 200 AS $${_SQUARES}$$",
    f"CREATE FUNCTION register.size({SHAPE}) RETURNS float8 {_PLPGSQL} AS $${_SIZE}$$",
)
