"""Where the tests find real data, without which they are skipped, and compiled programs."""

import contextlib
import fcntl
import gc
import importlib.util
import os
import pathlib
import platform
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# Read when jax is imported. All processes of a test run, and the next run, share what they compile.
os.environ |= {
    "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".pytest_cache" / f"xla-{platform.node()}"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


# Files that take longest. A long one that begins last would run on alone.
LONG = ("train", "distributed", "numerics", "evaluation_calibrated", "extending", "experiments")
LONG += ("attacks", "train_step", "models", "diagnose", "figures", "sweep", "corruptions", "method")
LONG += ("views", "trained", "train_streamed", "results", "tables", "predictor", "label_examples")


def pytest_configure(config):
    """pytest-xdist hands out the files in the order of the tests, not the one with most first."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    rank = {f"test_{name}": i for i, name in enumerate(LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


def pytest_collection_finish():
    """Modules and tests stay to the end, so the collector need not visit them, nor be so often."""
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture(scope="session")
def data_root():
    """Folder of packed real data: $AUTOLABEL_DATA, or ../shared/data beside the repository."""
    folder = pathlib.Path(os.environ.get("AUTOLABEL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "load_check.py").is_file():
        pytest.skip(f"no real data: set AUTOLABEL_DATA (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def load_check(data_root):
    """The module beside the real data that unpacks it, independent of the package."""
    spec = importlib.util.spec_from_file_location("load_check", data_root / "load_check.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tfds_dir(request, tmp_path_factory):
    """TFDS folder of real CIFAR-10, the first 10,000 / 2,000 images or all of them.

    $AUTOLABEL_TFDS_DIR names one that is there; else it is made, once for all workers.
    The set is linked into a folder of the test run, so that caches are written there.
    """
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    made = pathlib.Path(os.environ.get("AUTOLABEL_TFDS_DIR", base / "tfds"))
    with _lock(base / "tfds.lock"):
        if not (made / "cifar10").is_dir():
            _make(request.getfixturevalue("data_root") / "make_tfds_dir.py", made)
        linked = base / "tfds_of_this_run"
        linked.mkdir(exist_ok=True)
        if not (linked / "cifar10").exists():
            (linked / "cifar10").symlink_to(made / "cifar10", target_is_directory=True)
    return linked


@contextlib.contextmanager
def _lock(path):
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make(script, folder):
    if not script.is_file():
        pytest.skip(f"no real CIFAR-10: {script} is missing, set AUTOLABEL_TFDS_DIR")
    command = [sys.executable, script, "--subset", "--file_format", "array_record"]
    subprocess.run([*command, "--data_dir", folder], check=True, capture_output=True)
