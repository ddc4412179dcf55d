"""Writes the table of breaks anew: every scenario, rendered by every template (`make prefix-table`)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.prefix import table
from tests.prefix.comparing import UNEXPLAINED
from tests.prefix.scenarios import SCENARIOS


def main() -> int:
    """Write the table, and say which breaks nothing explains."""
    rows = {template.name: table.facts(template) for template in table.all_templates()}
    for name, scenario in SCENARIOS.items():
        with tempfile.TemporaryDirectory() as folder:
            recorded = scenario.run(Path(folder))
        for template in table.all_templates():
            conversations = recorded.of(template.habits)
            table.add(rows[template.name], table.measured(template, name, conversations))
    table.FILE.write_text(table.written(rows), encoding="utf-8")
    unexplained = [name for name, row in rows.items() if UNEXPLAINED in row.breaks]
    print(f"{len(rows)} templates; breaks that nothing explains in: {', '.join(unexplained) or 'none'}")
    return 1 if unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
