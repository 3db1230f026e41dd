"""The settings as documents: ``.env.example`` and the table of ``docs/settings.md``.

``python -m config.reference`` prints the first, ``python -m config.reference table`` the second.
"""

from __future__ import annotations

import sys

from config.fields import Need, Part, Spec
from config.settings import SPECS


def env_example() -> str:
    """The text of ``.env.example``: every setting, its meaning, its default."""
    lines = [
        "# Settings of Wardlink. Made by `python -m config.reference`; a test checks it.",
        "# Leave the servers and keys empty and Wardlink runs its own, with keys of its own.",
    ]
    for spec in SPECS.values():
        lines += ["", f"# {spec.about}."]
        needed = _needed(spec)
        if needed:
            lines.append(f"# Needed {needed}.")
        lines.append(f"{spec.name}={_quoted(spec.default)}")
    return "\n".join(lines) + "\n"


def table() -> str:
    """The table of ``docs/settings.md``, in Markdown."""
    lines = ["| Setting | What it is | Default | Needed |", "|---|---|---|---|"]
    for spec in SPECS.values():
        default = f"`{spec.default}`" if spec.default else ""
        secret = " (secret)" if spec.secret else ""
        lines.append(f"| `{spec.name}` | {spec.about}{secret} | {default} | {_needed(spec)} |")
    return "\n".join(lines) + "\n"


def _needed(spec: Spec[object]) -> str:
    if spec.need is Need.NEVER:
        return ""
    if set(spec.parts) == set(Part):
        return spec.need.value
    return f"{spec.need.value}, by: {', '.join(spec.parts)}"


def _quoted(default: str) -> str:
    return f'"{default}"' if " " in default else default


def main(arguments: list[str]) -> int:
    """Print one of the two."""
    sys.stdout.write(table() if arguments == ["table"] else env_example())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
