"""For the builder of the site: files of the repository beside `docs` become pages, and links to them lead there."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
TEXTS = {"benchmarks/README.md": "benchmarks.md", "CHANGELOG.md": "changelog.md"}
PROGRAMS = {
    f"examples/{path.name}": f"examples/{path.stem}.md" for path in sorted(ROOT.glob("examples/*.py"))
}
PAGES = {**TEXTS, **PROGRAMS, "examples": "examples/index.md"}
"""By its path in the repository: the page that shows it."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    contents = {page: (ROOT / path).read_text() for path, page in TEXTS.items()}
    contents |= {page: _program(path) for path, page in PROGRAMS.items()}
    contents["examples/index.md"] = (
        "# Examples\n\nEach is a whole program, and is run by a test.\n\n"
        + "".join(
            f"- [{path.removeprefix('examples/')}]({posixpath.basename(page)}): {_summary(path)}\n"
            for path, page in PROGRAMS.items()
        )
    )
    for page, content in contents.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 - what it is called with
    """Let links that leave the directory lead to the pages."""
    here = posixpath.dirname(page.file.src_uri)

    def lead(found: re.Match[str]) -> str:
        target = PAGES.get(posixpath.normpath(posixpath.join("docs", here, found[1])))
        return f"]({posixpath.relpath(target, here or '.')}" if target else found[0]

    return re.sub(r"\]\((\.\./[^)#]+)", lead, markdown)


def _program(path: str) -> str:
    return f"# {posixpath.basename(path)}\n\n{_summary(path)}\n\n```python\n{(ROOT / path).read_text()}```\n"


def _summary(path: str) -> str:
    text = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    return text.splitlines()[0]
