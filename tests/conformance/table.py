"""Runs every check against the gateway and against stock asyncua and writes the table of docs/conformance.md.

PYTHONPATH=tests python tests/conformance/table.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = _ROOT / "docs" / "conformance.md"
_HEAD = """# What the standard asks, and what is answered

Each line is a check of `tests/conformance/`: what a part of OPC 10000 asks, the client that asks it (node-opcua, or raw
messages where a client cannot ask), and whether the gateway and stock asyncua {version} do it. The same checks run
against both, over the same small address space; what is said beside a failure is what was compared, the answer first.
Stock asyncua is not asked where a check needs what it does not have or what a program would have to add (history,
conditions, roles, a model). The checks were written for the gateway and look for corners: they say what is answered,
not how often anybody asks it. Made by `tests/conformance/table.py`; the tests run the gateway's side at every change.

"""


def run(subject: str) -> dict[str, dict[str, Any]]:
    """Outcome of each check by the test's name."""
    with tempfile.TemporaryDirectory() as directory:
        report = Path(directory) / "report"
        environment = {**os.environ, "TWIN_CONFORMANCE_SUBJECT": subject, "TWIN_CONFORMANCE_REPORT": str(report)}
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", "--timeout=60"]
        if subject != "ours":
            # What a check that failed leaves behind is not the fault of the next one.
            command += ["-W", "ignore::pytest.PytestUnraisableExceptionWarning"]
        subprocess.run([*command, "tests/conformance"], cwd=_ROOT, env=environment, check=False)
        lines = [json.loads(line) for line in report.read_text().splitlines()]
    outcomes: dict[str, dict[str, Any]] = {}
    for line in lines:
        outcomes.setdefault(line["test"], line)
    return outcomes


def row(ours: dict[str, Any], stock: dict[str, Any] | None) -> str:
    """One line of the table."""
    cells = [ours["part"], ours["behaviour"], ours["client"], told(ours), told(stock)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def told(line: dict[str, Any] | None) -> str:
    """Yes, no with what was compared, or why it was not asked."""
    if line is None:
        return "not run"
    if line["result"] == "passed":
        return "yes"
    said = line["said"]
    return f"no: `{said}`" if line["result"] == "failed" else f"not asked: {said}"


def main() -> None:
    """Write the page."""
    from importlib.metadata import version

    ours, stock = run("ours"), run("stock")
    order = sorted(ours.values(), key=lambda line: _key(line["part"]))
    counts = [Counter(line["result"] for line in side.values()) for side in (ours, stock)]
    lines = [_HEAD.format(version=version("asyncua"))]
    lines.append(f"{len(ours)} checks. The gateway: {counts[0]['passed']} as asked. ")
    lines.append(f"Stock asyncua: {counts[1]['passed']} as asked, {counts[1]['failed']} otherwise, ")
    lines.append(f"{counts[1]['skipped']} not asked.\n\n")
    lines.append("| Part | What it asks | Client | twin-gateway | stock asyncua |\n|---|---|---|---|---|\n")
    lines += [row(line, stock.get(line["test"])) + "\n" for line in order]
    _PAGE.write_text("".join(lines))


def _key(part: str) -> list[Any]:
    return [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in part.replace(".", " ").split()]


if __name__ == "__main__":
    main()
