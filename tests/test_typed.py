"""The package is typed for those who use it: their `mypy --strict` finds what is wrong, and nothing else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import unshrink

PACKAGE = Path(unshrink.__file__).parent
PROGRAM = Path(__file__).with_name("typed_user.py")
WRONG = """
import unshrink

r = unshrink.load("irn-x2")
r.downscale(3.5)
small: str = r.downscale(unshrink.read("a.png"))
unshrink.save("a.png", "b.png")
r.upscale("a.png", size=7)
unshrink.load(scale="4")
"""


@pytest.fixture(scope="module")
def checked(tmp_path_factory) -> str:
    """What mypy says of both programs, without torch, as for whoever has none."""
    folder = tmp_path_factory.mktemp("typed")
    (folder / "wrong.py").write_text(WRONG)
    settings = folder / "mypy.ini"
    settings.write_text("[mypy]\nstrict = true\nfollow_imports = silent\n[mypy-torch.*]\nfollow_imports = skip\n")
    command = [sys.executable, "-m", "mypy", "--config-file", settings, "--cache-dir", folder, PROGRAM, "wrong.py"]
    environment = os.environ | {"MYPYPATH": str(PACKAGE.parent)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").read_bytes() == b""


def test_a_strict_check_of_a_users_program_passes(checked):
    assert [line for line in checked.splitlines() if PROGRAM.name in line] == []


def test_what_is_wrong_is_found(checked):
    found = {int(line.split(":")[1]) for line in checked.splitlines() if line.startswith("wrong.py:")}
    assert found == {5, 6, 7, 8, 9}, checked
