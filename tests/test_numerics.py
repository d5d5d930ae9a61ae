"""Tiny runs give the very numbers that they gave when NUMERICS_VERSION was last raised.

After a change that is meant to move bits, raise ``NUMERICS_VERSION`` and write the new numbers:

    PYTHONPATH=. JAX_PLATFORMS=cpu python tests/test_numerics.py
"""

import json
import pathlib
import platform
import subprocess
import sys
import tempfile

import helpers
import jax
import pytest

import autolabel_jax
from autolabel_jax import files, run_dir, train

GOLDEN = pathlib.Path(__file__).with_name("golden_run.json")
SETTINGS = {
    **{"augment__name": "augmix", "buckets__num": 2, "buckets__edges": "kmeans"},
    "epochs": 3,
}
RUNS = {
    "mixup": SETTINGS | {"augment__name": "mixup", "buckets__edges": "equal_width"},
    "plain": SETTINGS,
    "ema": SETTINGS | {"optimizer__ema": 0.9, "model__name": "small_cnn", "model__width": 4},
    "visits": SETTINGS
    | {"calibration__exact": False, "calibration__fraction": 0.6, "train_examples": 120},
}


def environment() -> dict:
    """What the bits depend on besides the code."""
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    except OSError:
        flags = []
    return {
        "platform": jax.devices()[0].platform,
        "devices": jax.device_count(),
        "machine": platform.machine(),
        "vectors": [name for name in ("avx2", "avx512f") if name in flags],
        "versions": {name: run_dir.library_versions()[name] for name in run_dir.PACKAGES},
    }


def numbers(name: str, folder: pathlib.Path) -> dict:
    """The metrics of each epoch and of the result of one of ``RUNS``, without times."""
    result = train.train(helpers.small_config(**RUNS[name]), folder, progress=False)
    return {
        "metrics": helpers.read_metrics(folder),
        "result": {n: v for n, v in result.items() if n not in run_dir.OF_TRAINING},
    }


def test_the_stored_numbers_are_of_this_numerics_version():
    stored = files.read_json(GOLDEN)["numerics_version"]
    assert stored == autolabel_jax.NUMERICS_VERSION, (
        "run PYTHONPATH=. JAX_PLATFORMS=cpu python tests/test_numerics.py, commit golden_run.json"
    )


def made(name: str) -> dict:
    """The numbers of a run in a process of its own, compiled with no flag of the tests."""
    done = subprocess.run(
        [sys.executable, __file__, name],
        env=helpers.environment() | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


LONG = [pytest.param(name, marks=pytest.mark.slow) for name in ("plain", "ema")]


@pytest.mark.parametrize("name", ["mixup", *LONG])
def test_no_number_of_a_run_moves(name):
    golden, here = files.read_json(GOLDEN), environment()
    other = {n: here[n] for n in here if here[n] != golden["environment"][n]}
    if other:
        pytest.skip(f"the stored run is of another environment: {other} here")
    assert made(name) == golden["numbers"][name], "raise NUMERICS_VERSION if this is meant"


if __name__ == "__main__":
    names = sys.argv[1:] or RUNS
    with tempfile.TemporaryDirectory() as folder:
        numbers_made = {name: numbers(name, pathlib.Path(folder) / name) for name in names}
    if sys.argv[1:]:
        sys.exit(print(json.dumps(numbers_made[names[0]])))
    version = autolabel_jax.NUMERICS_VERSION
    written = {"numerics_version": version, "environment": environment(), "numbers": numbers_made}
    files.write_json(GOLDEN, written)
