"""What the tests share."""

import os
import signal
import tempfile
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)  # tiny tensors, and one process per core: threads would only fight
# A background job of a shell starts with Ctrl-C ignored, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Compiled networks are kept in here, not in the home of whoever runs the tests.
_CACHE = tempfile.TemporaryDirectory(prefix="unshrink-tests-")
os.environ["UNSHRINK_CACHE"] = _CACHE.name

DATA = Path(os.environ.get("UNSHRINK_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of test pictures of every kind (not part of the repository)."""
    if not (DATA / "hostile").is_dir():
        pytest.skip(f"no test pictures of every kind in {DATA}; set UNSHRINK_DATA to the folder that holds them")
    return DATA


@pytest.fixture(scope="session")
def set5() -> Path:
    """The pictures of Set5 (not part of the repository)."""
    if not (DATA / "test/Set5").is_dir():
        pytest.skip(f"no Set5 in {DATA}; python tools/fetch_data.py Set5 fetches it: set UNSHRINK_DATA to where")
    return DATA / "test/Set5"


@pytest.fixture(scope="session")
def small_set() -> Path:
    """Four crops of photographs, free to use, that are in every clone."""
    return Path(__file__).parent / "pictures"


@pytest.fixture(scope="session")
def cases(data) -> Path:
    """Small inputs that failed once."""
    folder = data / "cases"
    if not folder.is_dir():
        pytest.skip(f"no {folder}: the small inputs that failed once lie there")
    return folder
