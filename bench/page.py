"""Put measured tables into docs/performance.md: `python -m bench.page FILE…` (of `--json`)."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from bench.report import Report
from bench.rig import ROOT

PAGE = ROOT / "docs" / "performance.md"


def placed(page: str, report: Report) -> str:
    """Return the page with the report's table in its place. SystemExit when it has none."""
    names = (report.work.lower(), report.setting["broker"], report.setting.get("sync", ""))
    mark = f"<!-- {' '.join(filter(None, names))} -->\n"
    if mark not in page:
        raise SystemExit(f"{PAGE.name}: 没有此处 / has no {mark.strip()}")
    block = re.compile(f"{re.escape(mark)}.*?(?=<!-- end -->)", re.DOTALL)
    return block.sub(lambda _: f"{mark}{report.text()}\n", page)


def main() -> None:
    """Place the reports named on the command line."""
    page = PAGE.read_text(encoding="utf-8")
    for name in sys.argv[1:]:
        page = placed(page, Report(**json.loads(Path(name).read_text(encoding="utf-8"))))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
