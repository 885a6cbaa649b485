"""The layers of docs/architecture.md: imports go only upward in its listing, and the base install stays light."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

import unshrink

PACKAGE = Path(unshrink.__file__).parent
BASE = {"errors", "files"}
ROOMS: dict[str, set[str]] = {  # each may import from itself and from these
    "errors": set(),
    "files": {"errors"},
    "text": set(),
    "pictures": BASE,
    "sites": {"pictures"} | BASE,
    "network": {"pictures"} | BASE,
    "weights": {"network", "pictures"} | BASE,
    "runtime": {"weights", "network", "pictures"} | BASE,
    "batch": {"runtime", "weights", "network", "sites", "pictures"} | BASE,
    "video": {"runtime", "weights", "network", "pictures", "text"} | BASE,
    "evaluation": {"runtime", "weights", "network", "pictures", "text"} | BASE,
    "training": {"evaluation", "video", "weights", "network", "pictures"} | BASE,
    "cli": {
        "server",
        "training",
        "evaluation",
        "batch",
        "video",
        "runtime",
        "weights",
        "network",
        "sites",
        "pictures",
        "text",
        "files",
        "errors",
    },
    "server": {"evaluation", "batch", "video", "runtime", "weights", "network", "sites", "pictures", "text"} | BASE,
    "cluster": {"batch"},
    "__main__": {"cli"},
}


def imported(path: Path) -> set[str]:
    """The rooms of the package that a file names in its imports, at any depth of the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
        if isinstance(node, ast.ImportFrom) and node.module == "unshrink":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unshrink."):
            names.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            names |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("unshrink.")}
    return names & (ROOMS.keys() | {"web"})


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_module_is_in_a_room():
    assert {room(path) for path in PACKAGE.rglob("*.py")} == ROOMS.keys() | {"__init__"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upward_only(path):
    if room(path) != "__init__":
        above = imported(path) - ROOMS[room(path)] - {room(path)}
        assert not above, f"{room(path)} imports {', '.join(sorted(above))}, which is no room below it"


def test_rooms_stand_on_each_other_without_a_circle():
    order = list(graphlib.TopologicalSorter(ROOMS).static_order())
    assert all(order.index(below) < order.index(name) for name, under in ROOMS.items() for below in under)


def test_print_and_exit_are_for_the_command_line_alone():
    for path in PACKAGE.rglob("*.py"):
        if path != PACKAGE / "cli/terminal.py":
            calls = [
                n.func.id
                for n in ast.walk(ast.parse(path.read_text()))
                if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
            ]
            assert not {"print", "exit", "eval", "exec"} & set(calls), path


def test_public_names_are_exactly_these_and_all_documented():
    assert set(unshrink.__all__) == set(unshrink._HOME_OF)
    for name in unshrink.__all__:
        assert getattr(unshrink, name).__doc__, name


@pytest.mark.parametrize(
    "module",
    [
        "unshrink",
        "unshrink.cli.main",
        "unshrink.runtime.rescaler",
        "unshrink.pictures.io",
        "unshrink.cli.evaluate",
        "unshrink.server.work",
    ],
)
def test_the_base_never_imports_torch(module):
    code = f"import sys, {module}; assert not {{'torch', 'onnx', 'av'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_making_pictures_does_not_wait_for_what_measures_them():
    code = "import sys, unshrink.cli.pictures; assert 'unshrink.evaluation' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
