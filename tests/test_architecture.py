"""The layers of docs/architecture.md: imports go only upward in its listing, and the base install stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import unshrink

PACKAGE = Path(unshrink.__file__).parent
LAYERS = [  # each may import from its own layer and those before it
    {"errors"},
    {"architectures", "layers", "models", "resize", "losses", "metrics", "alpha"},
    {
        "files",
        "rows",
        "image",
        "_picture",
        "_pillow",
        "_png",
        "_tiff",
        "_vips",
        "provenance",
        "catalogue",
        "weights",
        "config",
    },
    {
        "tiling",
        "fused",
        "backends",
        "refine",
        "network",
        "rescaler",
        "kinds",
        "evaluate",
        "perceptual",
        "convert",
        "export",
    }
    | {"data", "optim", "distributed", "checkpoint", "journal", "validation", "train"},
    {
        "compare",
        "results",
        "plots",
        "studies",
        "tasks",
        "manifest",
        "plan",
        "worker",
        "batch",
        "one_picture",
        "commands",
        "make_weights",
        "describe",
        "measure",
        "report",
    }
    | {"arguments", "cli", "cluster", "server", "__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imported(path: Path) -> set[str]:
    """The modules of the package that a file names in its imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "unshrink":
            names |= {alias.name for alias in node.names if alias.name in LEVEL}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unshrink."):
            names.add(node.module.split(".")[1])
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_upward_only(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if part == "__init__":
        return
    for name in imported(path):
        assert LEVEL[name] <= LEVEL[part], f"{part} imports {name}, which is above it"


def test_print_and_exit_are_for_the_command_line_alone():
    for path in PACKAGE.rglob("*.py"):
        if path.name != "cli.py":
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
    ["unshrink", "unshrink.cli", "unshrink.rescaler", "unshrink.image", "unshrink.measure", "unshrink.server.work"],
)
def test_the_base_never_imports_torch(module):
    code = f"import sys, {module}; assert not {{'torch', 'onnx'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
