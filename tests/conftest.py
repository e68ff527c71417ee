"""What every test gets: no network, no touch of the user's caches, few threads, the same seeds.

The environment is set here, before any test module imports torch or a Hugging Face library: they read it
on import.
"""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_HOMES = Path(tempfile.mkdtemp(prefix="xwam-tests-"))

# Homes are forced: a test must never read or write the caches of the person who runs it.
for name, folder in {
    "HF_HOME": "hf",
    "HF_HUB_CACHE": "hf/hub",
    "HF_DATASETS_CACHE": "hf/datasets",
    "HF_LEROBOT_HOME": "lerobot",
    "TORCH_HOME": "torch",
    "XDG_CACHE_HOME": "cache",
}.items():
    os.environ[name] = str(_HOMES / folder)
for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
    os.environ.pop(name, None)

# Everything else can be overruled from outside, e.g. `HF_HUB_OFFLINE=0 scripts/test.sh -m network`.
for name, value in {
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "WANDB_MODE": "disabled",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",  # toy networks: more threads wait for each other on a busy machine
    "MKL_NUM_THREADS": "1",
}.items():
    os.environ.setdefault(name, value)


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOMES, ignore_errors=True)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Recorded reference results; tests/golden/README.md says what each tensor is."""
    return Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """Each test starts from the same random state, whatever ran before it."""
    random.seed(0)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(0)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
    yield
