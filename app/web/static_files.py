"""Style sheets and scripts: from memory, compressed beforehand, under an address that changes with them."""

from __future__ import annotations

import gzip
import mimetypes
from dataclasses import dataclass
from hashlib import sha256

from flask import Blueprint, Flask, Response, current_app, request, url_for
from werkzeug.exceptions import NotFound

from app.web import assets, guards

pages = Blueprint("files", __name__)
_FOREVER = 31_536_000
_A_WHILE = 3_600
TYPES = frozenset({".css", ".js", ".svg"})


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is served."""

    body: bytes
    packed: bytes | None
    kind: str
    version: str


def read_all() -> dict[str, File]:
    """Every file below ``static``, by its path there. AssetsError if the copied ones are missing."""
    missing = [name for name in assets.COPIED if not (assets.VENDOR / name).is_file()]
    if missing:
        raise assets.AssetsError(f"{', '.join(missing)} is missing below app/web/static: run `make install`.")
    found = {}
    for path in sorted(assets.STATIC.rglob("*")):
        if not path.is_file() or path.name.startswith("."):
            continue
        body = path.read_bytes()
        kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]
        packed = gzip.compress(body, mtime=0) if path.suffix in TYPES else None
        found[path.relative_to(assets.STATIC).as_posix()] = File(
            body, packed, kind or "application/octet-stream", sha256(body).hexdigest()[:12]
        )
    return found


def install(app: Flask) -> None:
    """Read the files once, before the fork; give templates ``static_url``."""
    files = read_all()
    app.extensions["wardlink-files"] = files

    def static_url(name: str) -> str:
        return url_for("files.static", filename=name, v=files[name].version)

    app.jinja_env.globals["static_url"] = static_url
    app.register_blueprint(pages)


@pages.get("/static/<path:filename>")
@guards.anyone
def static(filename: str) -> Response:
    """A file, packed where the browser takes that. One asked for by its version may be kept for good."""
    files: dict[str, File] = current_app.extensions["wardlink-files"]
    file = files.get(filename)
    if file is None:
        raise NotFound
    packed = file.packed is not None and bool(request.accept_encodings["gzip"])
    response = Response(file.packed if packed else file.body, content_type=_content_type(file.kind))
    if packed:
        response.headers["Content-Encoding"] = "gzip"
    if file.packed is not None:
        response.headers["Vary"] = "Accept-Encoding"
    known = request.args.get("v") == file.version
    response.headers["Cache-Control"] = (
        f"public, max-age={_FOREVER}, immutable" if known else f"public, max-age={_A_WHILE}"
    )
    response.set_etag(file.version + ("z" if packed else ""))
    response.make_conditional(request)
    return response


def _content_type(kind: str) -> str:
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
