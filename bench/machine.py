"""On what a benchmark ran: the machine, and the versions of everything that counts."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app.embedded import binaries
from app.embedded.state import EmbeddedError

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("sqlalchemy", "psycopg", "orjson", "httptools", "uvloop", "rq", "redis", "twilio", "sendgrid")


def machine() -> dict[str, object]:
    """Cores we may use, processor, memory in GB, Python, operating system."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "cpu": _cpu(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "python": platform.python_version(),
        "os": f"{platform.system()} {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Wardlink's commit ("+" when files differ from it), the servers and the packages of the hot path."""
    found = {"wardlink": _commit(), **_servers()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return match[1].strip() if match else platform.processor() or platform.machine()


def _commit() -> str:
    commit = _first_line("git", "rev-parse", "--short=12", "HEAD")
    if not commit:
        return "unknown"
    return commit + (
        "+" if _first_line("git", "status", "--porcelain", "--", ":!bench/results", ":!docs") else ""
    )


def _servers() -> dict[str, str]:
    try:
        shown = {
            "postgresql": _first_line(str(binaries.postgres_programs() / "postgres"), "--version"),
            "valkey": _first_line(str(binaries.valkey_server()), "--version"),
        }
    except EmbeddedError:
        return {}
    found = {name: re.search(r"\d+(\.\d+)+", text) for name, text in shown.items()}
    return {name: match[0] for name, match in found.items() if match}


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.partition("\n")[0].strip()
