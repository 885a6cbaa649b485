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
    """The folder of test pictures (not part of the repository)."""
    if not DATA.is_dir():
        pytest.skip(f"no test pictures in {DATA}; set UNSHRINK_DATA to the folder that holds them")
    return DATA
