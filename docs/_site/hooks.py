"""What mkdocs is told beside `mkdocs.yml`: pages that are made, pages that lie outside of docs/, and where links lead.

Nothing is copied into the repository: README, CHANGELOG and the like are read where they are at every build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

import site_reference
import site_settings
from site_links import drawn, origins, rewrite


def root_of(config: Any) -> Path:
    """The folder of the repository."""
    return Path(config.config_file_path).parent


@event_priority(100)  # before mkdocs-jupyter, which takes notebooks over
def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    root = root_of(config)
    for page, name in origins(root).items():
        if page == name:  # a notebook, called as it is in the repository
            files.append(File(page, str(root), config.site_dir, config.use_directory_urls))
        elif files.get_file_from_path(page) is None:
            files.append(File.generated(config, page, abs_src_path=str(root / name)))
    for page, about in site_settings.PAGES.items():
        files.append(File.generated(config, page, content=site_settings.page(*about)))
    for page, group in site_reference.PAGES.items():
        files.append(File.generated(config, page, content=site_reference.page(group)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Files) -> str:
    """Lead links from where the page stands in the repository to where it stands on the site."""
    root = root_of(config)
    known = origins(root)
    origin = root / known.get(page.file.src_uri, "docs")
    return rewrite(drawn(markdown, origin.parent), page.file.src_uri, known, root)
