"""What several tests share: small configs, arrays on disk, commands in processes of their own."""

import atexit
import contextlib
import functools
import io
import os
import pathlib
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from unittest import mock

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from absl import app
from absl.flags import FLAGS

from autolabel_jax import checkpoint, datasets, input_pipeline
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.run_dir import RunDir
from configs import base

ROOT = pathlib.Path(__file__).parents[1]
TIMES = ("images_per_second", "seconds")  # what may differ between two equal runs

# Two epochs of two steps on 32 digits, in a second once compiled.
SMALL = {
    "dataset": "digits",
    "train_examples": 64,
    "test_examples": 50,
    "calibration.fraction": 0.5,
    "model.name": "mlp",
    "model.width": 8,
    "epochs": 2,
    "batch_size": 16,
    "eval_batch_size": 64,
    "crop_pad": 0,
    "flip": False,
    "augment.name": "none",
    "buckets.num": 2,
    "calibration.exact": True,
    "labels.alpha": 1.0,
    "optimizer.warmup_epochs": 0.0,
    "optimizer.learning_rate": 0.05,
}


def small_config(**changes):
    """The base config with SMALL and then ``changes``; dots are written as two underscores."""
    config = base.base()
    settings = SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    config.update_from_flattened_dict(settings)
    return config


def flags(**changes) -> list[str]:
    """The same config as flags of ``experiments.train`` on top of the base's fields."""
    settings = SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    chosen = [f"--config.{name}={value}" for name, value in settings.items()]
    path = pathlib.Path(temporary_folder()) / "plain.py"
    path.write_text("from configs import base\n\n\ndef get_config():\n    return base.base()\n")
    return [f"--config={path}", *chosen]


def make_split(rng, n, shape, num_classes, distance=False) -> Split:
    """Random uint8 images with labels that hold every class."""
    return Split(
        input=rng.integers(0, 256, (n, *shape), dtype=np.uint8),
        label=rng.permutation(np.arange(n) % num_classes).astype(np.int32),
        distance=rng.random(n).astype(np.float32) if distance else None,
        index=np.arange(n),
    )


def make_dataset(
    shape=(6, 6, 3), num_classes=4, train=48, calibration=26, test=30, distance=False, seed=0
) -> Dataset:
    """A data set of noise, as ``datasets.load`` gives it."""
    rng = np.random.default_rng(seed)
    sizes = {"train": train, "calibration": calibration, "test": test}
    splits = {
        name: make_split(rng, n, shape, num_classes, distance=distance) for name, n in sizes.items()
    }
    return Dataset(
        name="noise",
        **splits,
        num_classes=num_classes,
        class_names=None,
        mean=np.full(shape[-1], 0.5, np.float32),
        std=np.full(shape[-1], 0.3, np.float32),
    )


def make_experiment(dataset: Dataset, **changes) -> experiment_lib.Experiment:
    """The parts of a run on that data set."""
    return experiment_lib.create(small_config(**changes), dataset, input_pipeline.make_mesh())


def compile_methods(*methods: tuple[type, str]):
    """A fixture: in its module these methods are one program each, not one an operation."""

    @pytest.fixture(autouse=True, scope="module")
    def compiled():
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in methods:
                patch.setattr(owner, name, jax.jit(vars(owner)[name], static_argnums=0))
            yield

    return compiled


def write_arrays(folder: pathlib.Path, sizes: dict[str, int] | None = None, **arrays) -> str:
    """train.npz and test.npz of Gaussian classes of vectors; ``arrays`` replace or add."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for name, n in (sizes or {"train": 64, "test": 50}).items():
        label = np.arange(n) % 3
        image = (label[:, None] + rng.normal(size=(n, 5))).astype(np.float32)
        own = {key: value(n) for key, value in arrays.items()}
        np.savez(folder / f"{name}.npz", **{"label": label, "image": image} | own)
    return str(folder)


@functools.cache
def temporary_folder() -> str:
    """One for all tests of this process and the processes that it starts."""
    folder = tempfile.mkdtemp(prefix="autolabel_jax_test_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def environment(devices: int = 1) -> dict[str, str]:
    """Of a process on so many virtual CPU devices, compiled as in this one."""
    given = os.environ.get("XLA_FLAGS", "")
    return os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{given} --xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
    }


def process(*arguments, devices: int = 1) -> subprocess.CompletedProcess:
    """``python …`` run to its end, from the root of the repository."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=300,
    )


def command(*arguments, devices: int | None = None) -> subprocess.CompletedProcess:
    """The same; a program that asks for no number of devices runs in this process."""
    flag, *others = map(str, arguments)
    if devices is not None or flag != "-m":
        return process(*arguments, devices=devices or 1)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(ROOT))
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(mock.patch.object(sys, "argv", others))
        stack.enter_context(_fresh_programs())
        for number in (signal.SIGINT, signal.SIGTERM):
            stack.callback(signal.signal, number, signal.getsignal(number))
        code = _exit_code(lambda: runpy.run_module(others[0], run_name="__main__", alter_sys=True))
    return subprocess.CompletedProcess(others, code, out.getvalue(), err.getvalue())


def _exit_code(run) -> int:
    """What a process would end with: of ``sys.exit``, or 1 after a message."""
    try:
        run()
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def _copied(value):
    """A copy with copies of the lists inside: deleting a flag takes it out of its module's list."""
    if isinstance(value, dict):
        return {k: list(v) if isinstance(v, list) else v for k, v in value.items()}
    return value


@contextlib.contextmanager
def _fresh_programs():
    """Until this ends, no module of experiments is imported and none of their flags is defined."""
    app.define_help_flags()  # once and for all
    before = {name: _copied(value) for name, value in FLAGS.__dict__.items()}
    imported = {name: sys.modules[name] for name in sys.modules if _of_experiments(name)}
    for name in list(FLAGS):
        if _of_experiments(FLAGS.find_module_defining_flag(name)):
            delattr(FLAGS, name)
    for name in imported:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in filter(_of_experiments, list(sys.modules)):
            del sys.modules[name]
        sys.modules.update(imported)
        FLAGS.__dict__.clear()
        FLAGS.__dict__.update(before)


def _of_experiments(module: str | None) -> bool:
    return (module or "").split(".")[0] == "experiments"


def import_torch():
    """PyTorch, or the test is skipped; with what PyPI's torchvision for CUDA misses beside it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    if torch.version.cuda is None and not hasattr(torch.ops.torchvision, "nms"):
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.autolabel_library = library  # what it declares goes when it does
    return torch


def read_metrics(workdir: pathlib.Path) -> list[dict]:
    """Lines of metrics.jsonl, without the times."""
    lines = RunDir(workdir).read_metrics()
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def whole_steps(workdir: pathlib.Path) -> list[int]:
    """Numbers of the complete checkpoints of a run."""
    folder = workdir / "checkpoints"
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())


def read_checkpoint(folder: pathlib.Path) -> dict:
    """Arrays of one saved step by their path, read by orbax alone, on any number of devices."""
    path = (folder / "default").absolute()
    with ocp.PyTreeCheckpointer() as reader:
        saved = reader.metadata(path).item_metadata.tree
        plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), saved)
        tree = reader.restore(path, restore_args=plain)
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def last_checkpoint(workdir: pathlib.Path) -> dict:
    """Arrays of the last whole step of a run."""
    steps = [p for p in (workdir / "checkpoints").iterdir() if p.name.isdigit()]
    return read_checkpoint(max(steps, key=lambda p: int(p.name)))


def assert_same_bits(a: dict, b: dict) -> None:
    """Two checkpoints hold the same arrays to the last bit."""
    assert a.keys() == b.keys()
    assert a
    for path in a:
        assert a[path].dtype == b[path].dtype, path
        assert a[path].tobytes() == b[path].tobytes(), path


def saved_experiment(config) -> tuple[experiment_lib.Experiment, Dataset, checkpoint.Snapshot]:
    """Experiment, data and first snapshot of a config."""
    dataset = datasets.load(config)
    experiment = experiment_lib.create(config, dataset, input_pipeline.make_mesh())
    first = checkpoint.first_snapshot(experiment, config.seed, dataset.train.input.shape[1:])
    return experiment, dataset, first
