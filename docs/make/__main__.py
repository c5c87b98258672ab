"""Write the generated pages of the documentation: ``python docs/make [--check]``.

With ``--check`` nothing is written: the exit status is 1 if a page is not what it would be.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[1]
sys.path.append(str(DOCS.parent))  # the tree's own package, unless one is installed

from pages import PAGES  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the generated pages of the documentation.")
    parser.add_argument("--check", action="store_true", help="only say which are out of date")
    check = parser.parse_args().check
    stale = []
    for name, page in PAGES.items():
        path, text = DOCS / name, page(DOCS.parent)
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text)
    for name in stale:
        print(f"docs/{name}: {'out of date; run python docs/make' if check else 'written'}")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main())
