"""What the pages say is what the commands print."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import unshrink

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "cards").glob("*.md")),
]


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_version_is_the_same_everywhere():
    assert f'version = "{unshrink.__version__}"' in (ROOT / "pyproject.toml").read_text()
    assert f"## {unshrink.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_readme_code_runs(tmp_path, monkeypatch):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photo.jpg").write_bytes((ROOT / "examples/rocket.jpg").read_bytes())
    for block in code:
        exec(block, {})
    assert {path.name for path in tmp_path.iterdir()} == {"photo.jpg", "photo_x2.png", "photo_restored.png"}
