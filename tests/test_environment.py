import mmap
import subprocess
from pathlib import Path

import pytest

from unshrink.evaluation.environment import commit, environment, forget_peak_memory, peak_megabytes

ROOT = Path(__file__).parents[1]
SYNCHRONISED = 4  # MB that Linux may be off by: it keeps a count for each thread, and adds them up now and then


def test_the_commit_is_that_of_this_repository():
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert commit().rstrip("+") == done.stdout.strip() == environment()["commit"].rstrip("+")


def test_the_peak_is_what_was_held_since_it_was_forgotten():
    forget_peak_memory()
    before = peak_megabytes()
    if before is None:
        pytest.skip("the system does not say")
    pages = 10_000
    with mmap.mmap(-1, pages * mmap.PAGESIZE) as held:  # what malloc gives back when is its own business
        held[:: mmap.PAGESIZE] = b"1" * pages
        with_it = peak_megabytes()
    assert with_it >= before + 35
    assert peak_megabytes() >= with_it - SYNCHRONISED
    forget_peak_memory()
    assert peak_megabytes() < with_it - 35 + SYNCHRONISED
