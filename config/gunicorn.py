"""Values for gunicorn: ``gunicorn -c config/gunicorn.py wsgi:app``.

Threads beyond four make pages slower; two to four serve kept connections and slow clients.
"""

from __future__ import annotations

import os
from typing import Any

from config.settings import Settings

_settings = Settings.load(os.environ)

bind = f"{_settings.web_host}:{_settings.web_port}"
workers = _settings.web_workers
worker_class = "app.web.worker.Worker"  # gthread, with a limit on slow callers
threads = _settings.web_threads
preload_app = True  # the app warms its templates before the fork, so that workers share them
timeout = 30  # seconds: a worker says that it lives, and a request comes in, is answered and is taken
graceful_timeout = 20
keepalive = 5
limit_request_line = 4094
limit_request_fields = 60
control_socket_disable = True  # it would lie in the user's home, where two installations collide
accesslog = None  # paths and addresses are personal; the app writes its own line with ids
errorlog = "-"
loglevel = "error"  # at warning it writes the address and the request line of whoever sent a bad one


def post_worker_init(worker: Any) -> None:
    """A process answers from now on: whether somebody listened decides what a provider's silence means."""
    worker.wsgi.extensions["wardlink-desk"].begin()


def worker_exit(_server: Any, worker: Any) -> None:
    """It has answered its last call."""
    if getattr(worker, "wsgi", None) is not None:
        worker.wsgi.extensions["wardlink-desk"].end()
