"""``make audit``: whether anybody has published a hole in what we depend on, by the locked versions.

Python's packages are looked up at OSV by pip-audit, npm's at the registry by npm. Exit status 0: everything was asked
about and nothing is known; 1: something is known; 3: a source could not be asked, in whole or in part, which is no
all-clear. It is apart from lint: what is published tomorrow says nothing about today's change.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements/base.txt", "requirements/dev.txt", "requirements/uv.txt")
OSV = "https://api.osv.dev/v1/query"
CLEAR, KNOWN, UNASKED = 0, 1, 3
SECONDS = 600


@dataclass
class Answer:
    """What one source said: ``asked`` packages, what is ``known`` of them, and why something was not asked."""

    source: str
    asked: int = 0
    known: list[str] = field(default_factory=list)
    unasked: list[str] = field(default_factory=list)


def python_packages(locks: Sequence[str], osv_url: str) -> Answer:
    """Every package of the lock files, by pip-audit at OSV."""
    answer = Answer("Python packages (OSV)")
    words = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--format", "json"]
    words += ["--progress-spinner", "off", "--vulnerability-service", "osv", "--osv-url", osv_url]
    for lock in locks:
        found, problem = _run([*words, "--requirement", lock])
        packages = found.get("dependencies")
        if not isinstance(packages, list) or not packages:
            answer.unasked.append(f"{lock}: {problem}")
            continue
        for one in packages:
            name = f"{one.get('name')} {one.get('version', '')}".strip()
            if "skip_reason" in one:  # pip-audit would call this a success
                answer.unasked.append(f"{name}: {one['skip_reason']}")
                continue
            answer.asked += 1
            for hole in one.get("vulns", []):
                mended = ", ".join(hole.get("fix_versions", [])) or "no version yet"
                answer.known.append(f"{name}: {hole.get('id')}, mended in {mended}")
    answer.known = sorted(set(answer.known))
    return answer


def npm_packages(folder: Path, registry: str | None) -> Answer:
    """Every package of package-lock.json, by npm at its registry."""
    answer = Answer("npm packages (registry)")
    words = ["npm", "audit", "--json", "--package-lock-only", "--fetch-retries=1", "--fetch-timeout=30000"]
    found, problem = _run([*words, *([f"--registry={registry}"] if registry else [])], folder)
    holes, counts = found.get("vulnerabilities"), found.get("metadata", {}).get("dependencies", {})
    if not isinstance(holes, dict):
        answer.unasked.append(str(found.get("message") or problem))
        return answer
    answer.asked = int(counts.get("total", 0))
    for name, hole in holes.items():
        titles = [via["title"] for via in hole.get("via", []) if isinstance(via, dict)]
        answer.known.append(f"{name}: {hole.get('severity')}, {'; '.join(titles) or 'by what it depends on'}")
    return answer


def _run(words: Sequence[str], folder: Path = PROJECT) -> tuple[dict[str, Any], str]:
    """The JSON that a program printed ({} if it printed none), and the last line of what it complained of."""
    try:
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        return {}, f"{words[0]} is not installed"
    except subprocess.TimeoutExpired:
        return {}, f"no answer within {SECONDS} seconds"
    complaint = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
    try:
        found = json.loads(done.stdout)
    except ValueError:
        return {}, complaint
    return (found if isinstance(found, dict) else {}), complaint


def report(answers: Sequence[Answer]) -> int:
    """Print what was found; the exit status."""
    for one in answers:
        print(f"{one.source}: {one.asked} asked about, {len(one.known)} known, {len(one.unasked)} not asked")
        for line in one.known:
            print(f"  KNOWN  {line}")
        for line in one.unasked[:20]:
            print(f"  NOT ASKED  {line[:300]}")
    if any(one.known for one in answers):
        print(
            "There are known advisories: raise the versions with `make lock`, or write down why they do not matter."
        )
        return KNOWN
    if any(one.unasked or not one.asked for one in answers):
        print("COULD NOT ASK everything: this is no all-clear. Run it where the sources can be reached.")
        return UNASKED
    print("Nothing is known.")
    return CLEAR


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask both sources."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--osv-url", default=OSV, help="where OSV is asked, or a mirror of it")
    parser.add_argument("--registry", help="npm's registry, if another than npm's own setting")
    parser.add_argument("--lock", action="append", help="a lock file of Python packages, with hashes")
    parser.add_argument("--folder", type=Path, default=PROJECT, help="where package-lock.json lies")
    given = parser.parse_args(arguments)
    answers = [
        python_packages(given.lock or LOCKS, given.osv_url),
        npm_packages(given.folder, given.registry),
    ]
    return report(answers)


if __name__ == "__main__":
    sys.exit(main())
