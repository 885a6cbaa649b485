"""A hook of mkdocs (mkdocs.yml): pages that live outside docs/, notebooks, and no page that loads from other hosts.

The README is the first page of the site; the cards, the changes and the rules for contributors are pages too.
Notebooks are run when the site is built, so that it shows what they give today.
"""

import functools
import os
import re
from pathlib import Path
from typing import Any

import griffe
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    **{f"cards/{card.name}": f"cards/{card.name}" for card in sorted((ROOT / "cards").glob("*.md"))},
}
ORIGIN = {place: path for path, place in OUTSIDE.items()}
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s#]+)(#[^()\s]*)?\)")
FOREIGN = re.compile(
    r"<(?:script|img|iframe|link(?![^>]*rel=\"?canonical))\b[^>]*(?:src|href)=\"?((?:https?:)?//[^\s\">]+)"
)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages from outside docs/, and a page for each notebook."""
    for path, place in OUTSIDE.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text(encoding="utf-8")))
    for file in list(files):
        if file.src_uri.endswith(".ipynb"):
            page, pictures = shown(Path(file.src_uri).stem, file.content_string)
            files.append(File.generated(config, place_of(file.src_uri), content=page))
            for name, data in pictures.items():
                files.append(File.generated(config, f"{os.path.dirname(file.src_uri)}/{name}", content=data))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Makes links of the repository links of the site."""
    return moved(markdown, ORIGIN.get(page.file.src_uri, f"docs/{page.file.src_uri}"))


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Refuses a page that loads a script, a style, a font or a picture from another host."""
    if found := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri} loads {found[1]}: the site must not load anything from other hosts")
    return output


def moved(markdown: str, path: str) -> str:
    """The page at ``path`` of the repository, its links leading to pages of the site.

    A link to a file of the repository that is not on the site becomes its text.  One that leads nowhere stays as it is,
    for mkdocs to complain about.
    """
    here = os.path.dirname(place_of(path))

    def link(match: re.Match[str]) -> str:
        mark, text, target, anchor = match[1], match[2], match[3], match[4] or ""
        goal = os.path.normpath(os.path.join(os.path.dirname(path), target))
        if "://" in target or target.startswith("mailto:") or not (ROOT / goal).exists():
            return match[0]
        if not goal.startswith("docs/") and goal not in OUTSIDE:
            return text
        return f"{mark}[{moved(text, path)}]({os.path.relpath(place_of(goal), here)}{anchor})"

    return LINK.sub(link, markdown)


def place_of(path: str) -> str:
    """Where on the site a file of the repository is."""
    return OUTSIDE.get(path, re.sub(r"\.ipynb$", ".md", path.removeprefix("docs/")))


@functools.cache
def shown(name: str, notebook: str) -> tuple[str, dict[str, bytes]]:
    """A notebook, run in docs/notebooks: its page in Markdown, and the pictures that the page shows, by their paths."""
    cells = nbformat.reads(notebook, as_version=4)
    place = {"metadata": {"path": str(ROOT / "docs/notebooks")}}
    quiet = ["--log-level=ERROR"]
    NotebookClient(cells, timeout=300, resources=place, extra_arguments=quiet, coalesce_streams=True).execute()
    where = {"unique_key": name, "output_files_dir": f"{name}_files"}
    page, resources = MarkdownExporter().from_notebook_node(cells, resources=where)
    return page, {path: data for path, data in resources["outputs"].items() if path in page}


class Examples(griffe.Extension):
    """Shows what stands under "Example:" in a docstring as code, as griffe does with "Examples:" alone."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Renames the section."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^( *)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
