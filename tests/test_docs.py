"""What the pages say is true: figures are measured, code runs, commands print what is shown, links lead somewhere."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from types import ModuleType

import nbformat
import PIL.Image
import pytest
import yaml

import unshrink
from films import film, pictures
from unshrink.cli.main import main

ROOT = Path(__file__).parents[1]
PACKAGE = Path(unshrink.__file__).parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "cards").glob("*.md")),
]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
# A block of code, after a comment that says why it is not run, or of which file it is an excerpt.
FENCE = re.compile(r"^(?:<!-- (not run: [^\n]*|from [^\n]*) -->\n)?```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """The blocks of code in that language that are to be run."""
    return [code for comment, kind, code in FENCE.findall(page.read_text()) if kind == language and not comment]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the photo of the pages, its small picture as another program saved it, and a clip."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "examples/rocket.jpg", "photo.jpg")
    PIL.Image.open(ROOT / "docs/images/tutorial_small.png").convert("RGB").save("photo_again.jpg")
    film("clip.mp4", pictures(2))
    return tmp_path


# -- figures -------------------------------------------------------------------------------------------------------


def test_tables_are_what_results_say():
    done = checked(ROOT)
    assert done.returncode == 0, done.stderr
    assert "| irn-x2 | Set5 |" in (ROOT / "README.md").read_text()


@pytest.fixture
def copied(tmp_path):
    for part in ("docs", "results", "benchmarks", "cards", "checks"):
        shutil.copytree(ROOT / part, tmp_path / part)
    shutil.copy(ROOT / "README.md", tmp_path)
    return tmp_path


def checked(folder):
    return subprocess.run(
        [sys.executable, folder / "docs/generate_figures.py", "--check"], capture_output=True, text=True
    )


def test_a_figure_that_nobody_measured_is_noticed(copied):
    page = (copied / "README.md").read_text()
    figure = json.loads((ROOT / "results/irn-x2/Set5.json").read_text())["mean"]["psnr_y"]
    (copied / "README.md").write_text(
        page.replace(f"| irn-x2 | Set5 | **{figure:.2f}**", "| irn-x2 | Set5 | **99.00**")
    )
    done = checked(copied)
    assert done.returncode == 1
    assert str(copied / "README.md") in done.stderr


def test_a_drawing_of_older_measurements_is_noticed(copied):
    assert checked(copied).returncode == 0
    source = copied / "benchmarks" / "backends.json"
    measured = json.loads(source.read_text())
    for row in measured["rows"]:
        row["cpu_seconds"] = row.get("cpu_seconds", 0) + 0.001  # too little to show in a table
    source.write_text(json.dumps(measured))
    done = checked(copied)
    assert done.returncode == 1
    assert "speed.svg" in done.stderr


# -- links and names -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    text = FENCE.sub("", page.read_text())
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?[^)]*\)", text):
        goal = page.parent / target if target else page
        assert target.startswith("https://") or goal.exists(), target
        if anchor and goal.suffix == ".md":
            assert anchor[1:] in anchors(goal), f"{target}{anchor}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_room_is_in_the_architecture_page():
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert rooms == set(re.findall(r"^\| `(\w+)/` \|", text, re.MULTILINE))


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2])
    pages = {str(path.relative_to(ROOT / "docs").with_suffix(".md")) for path in (*NOTEBOOKS, *docs_pages())}
    assert pages <= set(listed)
    assert len(listed) == len(set(listed))


def docs_pages() -> list[Path]:
    return sorted((ROOT / "docs").rglob("*.md"))


def test_every_public_name_is_in_the_reference():
    page = (ROOT / "docs/api/unshrink.md").read_text()
    errors = {name for name in unshrink.__all__ if getattr(unshrink, name).__module__ == "unshrink.errors"}
    assert {f"::: unshrink.{name}" for name in set(unshrink.__all__) - errors} <= set(page.splitlines())
    assert "::: unshrink.errors" in page


def test_the_version_is_a_heading_of_the_changes():
    assert re.search(rf"^## \[?{re.escape(unshrink.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_extras_are_those_of_the_package_and_nothing_is_said_to_be_on_an_index():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for page in [*docs_pages(), *PACKAGE.rglob("*.py")]:
        text = page.read_text()
        assert "pip install unshrink\n" not in text, page
        assert "'unshrink[" not in text, f"{page}: in a clone it is .[...]"
        named = re.findall(r"\.\[(\w+)\]|not_installed\([^)]*, \"(\w+)\"\)", text)
        assert {a or b for a, b in named} <= extras.keys(), page


def test_the_models_are_listed_with_the_figures_of_the_readme(capsys):
    assert main(["models"]) == 0
    for line in capsys.readouterr().out.splitlines()[1:]:
        name, luma, chroma = re.fullmatch(r"(\S+) .* PSNR-Y (\S+), chroma (\S+)", line).groups()
        row = re.search(rf"^\| {name} \| Set5 \| (.*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
        figures = row[1].replace("*", "").split(" | ")
        assert (figures[0], figures[2]) == (luma, chroma)


# -- code ----------------------------------------------------------------------------------------------------------


def test_the_readme_code_runs(folder):
    for block in blocks(ROOT / "README.md", "python"):
        exec(block, {})
    assert {"photo.jpg", "photo_x2.png", "photo_restored.png"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "page",
    [page for page in docs_pages() if blocks(page, "python")],
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_the_code_of_a_page_runs(page, folder):
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), names)


def excerpts() -> list[tuple[str, str]]:
    """Blocks that are taken from a file, and that file."""
    found = [block for page in docs_pages() for block in FENCE.findall(page.read_text())]
    return [(comment.removeprefix("from "), code) for comment, _, code in found if comment.startswith("from ")]


@pytest.mark.parametrize("source, code", excerpts())
def test_excerpts_are_what_the_file_says(source, code):
    lines = set((ROOT / source).read_text().splitlines())
    assert [line for line in code.splitlines() if line.strip(" .") and line not in lines] == []


def test_the_tutorial_shows_what_the_commands_print(folder, capsys):
    shown = [block.partition("\n") for block in blocks(ROOT / "docs/tutorial.md", "console")]
    assert len(shown) > 4
    for command, _, expected in shown:
        with warnings.catch_warnings(action="ignore"):
            main(shlex.split(command.removeprefix("$ unshrink ")))
        printed = capsys.readouterr()
        assert without_digits(printed.err + printed.out) == without_digits(expected), command


def without_digits(text: str) -> list[str]:
    """The words of a text; figures may differ a little from machine to machine."""
    return re.sub(r"\d+(\.\d+)?", "0", text).split()


# -- the site ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hooks", ROOT / "docs/site_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "path, link, moved",
    [
        ("README.md", "[a](docs/cli.md#train)", "[a](cli.md#train)"),
        ("README.md", "![a](docs/images/network.svg)", "![a](images/network.svg)"),
        ("README.md", "[Apache-2.0](LICENSE)", "Apache-2.0"),
        ("README.md", "[a](https://arxiv.org/abs/2005.05650)", "[a](https://arxiv.org/abs/2005.05650)"),
        ("docs/cli.md", "[a](../cards/irn-x2.md)", "[a](cards/irn-x2.md)"),
        ("docs/api/unshrink.md", "[a](../notebooks/latent.ipynb)", "[a](../notebooks/latent.md)"),
        ("cards/irn-x2.md", "[a](../docs/training.md)", "[a](../training.md)"),
        ("cards/irn-x2.md", "[a](../docs/nowhere.md)", "[a](../docs/nowhere.md)"),
    ],
)
def test_links_of_the_repository_become_links_of_the_site(hooks, path, link, moved):
    assert hooks.moved(f"See {link}.", path) == f"See {moved}."


def test_a_page_that_loads_from_another_host_is_refused(hooks):
    page = type("Page", (), {"file": type("File", (), {"src_uri": "a.md"})})
    fine = (
        '<script src="assets/a.js"></script><a href="https://arxiv.org">a</a><link rel="canonical" href="https://a.b">'
    )
    assert hooks.on_post_page(fine, page) == fine
    for bad in (
        '<script src="https://a.b/c.js">',
        "<link href=//a.b/c.css rel=stylesheet>",
        '<img alt="" src="http://a.b">',
    ):
        with pytest.raises(Exception, match="other hosts"):
            hooks.on_post_page(bad, page)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(hooks, path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # one process for each core: threads would only fight
    page, pictures = hooks.shown(path.stem, path.read_text())
    assert page.startswith("# ")
    assert all(f"({name})" in page and data for name, data in pictures.items())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_what_they_gave(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs"), "remove it: jupyter nbconvert --clear-output --inplace"


def test_the_hooks_of_pre_commit_are_the_checks_of_ci():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    commands = {hook["entry"].removeprefix("make ") for repo in config["repos"] for hook in repo["hooks"]}
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    ran = re.findall(r"^make (.*)$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert commands == set(" ".join(ran).split())
