"""Links of the repository's pages as links of the site: a page stands elsewhere there, and source files not at all.

Pages are written to be read in the repository, where `../bench/RESULTS.md` is a file. Here a link is resolved where its
page stands in the repository; one to a page of the site is written for the site, one to another file of the repository
becomes code, and one to nothing stays as it is, for the strict build to refuse.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path

ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "bench/RESULTS.md": "results.md",
}
"""Pages that are read from where they are in the repository, and what they are called on the site."""

_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2[ \t]*$\n?", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")
_HTML = re.compile(r'\b(src|href)="([^"]+)"')
_SPAN = re.compile(r"(?<![\[`])`([\w./-]+)`(?![\]`])")


_DRAWING = re.compile(r"^!\[[^\]]*\]\(([\w./-]+\.svg)\)$", re.MULTILINE)


def drawn(text: str, folder: Path) -> str:
    """Markdown with its drawings set into it, so that they follow the page's colours, light or dark."""

    def inline(match: re.Match[str]) -> str:
        return f'<div class="drawing">\n{(folder / match[1]).read_text(encoding="utf-8").strip()}\n</div>'

    return _DRAWING.sub(inline, text)


def page_of(path: str) -> str:
    """What the site calls a file of the repository, if it shows it."""
    return ELSEWHERE.get(path) or path.removeprefix("docs/")


def origins(root: Path) -> dict[str, str]:
    """File of the repository by page of the site: all that may be linked, pictures too."""
    folders = {"docs": "docs/**/*", "notebooks": "notebooks/*.ipynb"}
    found = [path for glob in folders.values() for path in root.glob(glob) if path.is_file()]
    names = [path.relative_to(root).as_posix() for path in found if "_site" not in path.parts]
    return {page_of(name): name for name in [*names, *ELSEWHERE] if (root / name).exists()}


def rewrite(text: str, page: str, known: Mapping[str, str], root: Path) -> str:
    """The Markdown of a `page` of the site with its links led to pages of the site; blocks of code stay."""
    here = posixpath.dirname(known.get(page, f"docs/{page}"))
    shown = {name: one for one, name in known.items()}

    def target(link: str) -> str | None:
        """The link as the site writes it; `None` for a file that is in the repository alone."""
        path, mark, anchor = link.partition("#")
        if not path or re.match(r"[a-z]+:|/", path):
            return link
        name = posixpath.normpath(posixpath.join(here, path))
        if name in shown:
            return posixpath.relpath(shown[name], posixpath.dirname(page) or ".") + mark + anchor
        return None if (root / name).exists() and not name.startswith("docs/") else link

    def linked(match: re.Match[str]) -> str:
        picture, words, link = match.groups()
        now = target(link)
        return f"{picture}[{words}]({now})" if now else words if "`" in words else f"`{words}`"

    def span(match: re.Match[str]) -> str:
        name = match[1]
        notebook = next((one for one in shown if re.fullmatch(r"notebooks/\d+", name) and one.startswith(name)), name)
        if notebook not in shown or not notebook.endswith((".md", ".ipynb")) or shown[notebook] == page:
            return match[0]
        return f"[{match[0]}]({posixpath.relpath(shown[notebook], posixpath.dirname(page) or '.')})"

    def prose(part: str) -> str:
        part = _HTML.sub(lambda match: f'{match[1]}="{target(match[2]) or match[2]}"', part)
        return _SPAN.sub(span, _LINK.sub(linked, part))

    return _outside(text, prose)


def _outside(text: str, change: Callable[[str], str]) -> str:
    """`text` with what stands outside fenced blocks changed."""
    parts, end = [], 0
    for block in _FENCE.finditer(text):
        parts += [change(text[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(text[end:])])
