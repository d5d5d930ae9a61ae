"""docs/extending.md: its four files, written outside the clone, do what a built-in method does."""

import ast
import json
import pathlib
import re
import sys

import helpers
import numpy as np
import pytest

from autolabel_jax import registry
from configs import base
from experiments.sweeping import runs as sweep_runs

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text("utf-8")
FILES = dict(re.findall(r"```python\n# (my_pkg/\w+\.py)\n(.*?)```", TEXT, re.DOTALL))
NAMES = {
    "augment.name": "my_pkg.spin:Spin",
    "labels.rule": "my_pkg.confident:Confident",
    "model.name": "my_pkg.linear:Linear",
    "dataset": "my_pkg.stripes:Stripes",
}
SMALL = {
    "train_examples": 200,
    "test_examples": 100,
    "epochs": 2,
    "batch_size": 25,
    "eval_batch_size": 100,
    "crop_pad": 0,
    "checkpoint.every_epochs": 2,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder outside the clone with the package my_pkg."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "my_pkg").mkdir()
    (folder / "my_pkg" / "__init__.py").touch()
    for name, code in FILES.items():
        (folder / name).write_text(code)
    return folder


def forget():
    """Modules of the package, which would be found without their folder."""
    for name in [name for name in sys.modules if name.split(".")[0] == "my_pkg"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def importable(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield
    forget()


def command(module, *arguments):
    return helpers.command("-m", module, *arguments)


def flags(**others):
    fields = NAMES | SMALL | {name.replace("__", "."): v for name, v in others.items()}
    return [f"--config.{field}={value}" for field, value in fields.items()]


@pytest.fixture(scope="module")
def trained(importable, tmp_path_factory):
    """A run with all four, its own settings given as flags."""
    workdir = tmp_path_factory.mktemp("runs") / "own"
    own = flags(augment__angle=60, labels__rate=0.25, model__hidden=16, data__noise=90)
    config = "--config=configs/digits_augmix.py"
    done = command("experiments.train", config, f"--workdir={workdir}", *own)
    assert done.returncode == 0, done.stderr
    return workdir


def test_each_is_at_most_thirty_lines():
    assert set(FILES) == {
        f"my_pkg/{name}.py" for name in ("spin", "confident", "linear", "stripes")
    }
    for name, code in FILES.items():
        ast.parse(code)
        assert len([line for line in code.splitlines() if line.strip()]) <= 30, name


def test_trains_with_its_settings_and_learns_labels(trained):
    config = json.loads((trained / "config.json").read_text())
    assert config["augment"]["angle"] == 60
    assert config["labels"]["rate"] == 0.25
    assert config["model"]["hidden"] == 16
    assert config["data"]["noise"] == 90
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    before = np.ones(3)
    for line in lines:  # the rule by hand, from the file alone
        before = before + 0.25 * (np.array(line["bucket_confidence"]) - before)
        np.testing.assert_allclose(line["label_confidence"], before, rtol=1e-5)
    result = json.loads((trained / "result.json").read_text())
    assert result["augmentation"] == NAMES["augment.name"]
    assert result["accuracy"] > 0.9


def test_is_evaluated_diagnosed_tabled_and_drawn(trained, tmp_path):
    done = command(
        "experiments.evaluate", f"--workdir={trained}", "--attacks=fgsm", "--examples=20"
    )
    assert done.returncode == 0, done.stderr
    assert "spin" in done.stdout
    assert "confident" in done.stdout
    arguments = [f"--workdir={trained}", "--buckets", f"--out={tmp_path}"]
    done = command("experiments.diagnose", *arguments)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "bucket_distance.png").exists()
    done = command("experiments.tables", str(trained))
    assert done.returncode == 0, done.stderr
    # The title, and the option that differs from its default.
    assert "spin" in done.stdout
    assert "confident, labels.rate=0.25" in done.stdout
    assert "Linear-16" in done.stdout
    arguments = [str(trained), f"--out={tmp_path}", "--format=png"]
    done = command("experiments.figures", *arguments)
    assert done.returncode == 0, done.stderr
    assert "not drawn" not in done.stderr
    assert [*tmp_path.glob("bucket_images_*.png")]
    assert [*tmp_path.glob("label_confidence_*.png")]


def test_a_run_is_tabled_where_its_methods_cannot_be_imported(folder, trained, monkeypatch):
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(folder)])
    forget()
    done = command("experiments.tables", str(trained))
    assert done.returncode == 0, done.stderr
    assert NAMES["augment.name"] in done.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("importable")
def test_is_swept_beside_built_in_methods(tmp_path):
    axes = f"augment.name=none,{NAMES['augment.name']};labels.rule={NAMES['labels.rule']}"
    settings = SMALL | {"train_examples": 100, "epochs": 1, "model.width": 8}
    small = [f"--config.{field}={value}" for field, value in settings.items()]
    done = command(
        "experiments.sweep",
        "--config=configs/digits_augmix.py",
        f"--workdir={tmp_path}",
        f"--axes={axes}",
        "--processes=1",
        *small,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    configs = [json.loads(path.read_text()) for path in tmp_path.glob("*/config.json")]
    assert {config["augment"].get("angle") for config in configs} == {None, 30.0}
    assert len(configs) == len([*tmp_path.glob("*/result.json")]) == 2


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("augment.angle", 270, "augment.angle: got 270.0, must be between 0 and 180"),
        ("augment.angel", 30, "angel"),
        ("augment.name", "my_pkg.spin:Spun", "my_pkg.spin has no class 'Spun'"),
        ("augment.name", "my_pkg.spun:Spin", "No module named 'my_pkg.spun'"),
        ("augment.name", NAMES["labels.rule"], "must be a subclass of"),
        ("dataset", NAMES["labels.rule"], "without the method read"),
    ],
)
def test_mistakes_are_named_in_one_line(tmp_path, field, value, message):
    others = [flag for flag in flags() if not flag.startswith(f"--config.{field}=")]
    config = ["--config=configs/digits_augmix.py", f"--workdir={tmp_path / 'run'}"]
    done = command("experiments.train", *config, *others, f"--config.{field}={value}")
    assert done.returncode == 1
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


@pytest.mark.usefixtures("importable")
def test_settings_of_the_axes_and_of_the_search():
    config = base.base()
    settings = sweep_runs.parse_axes(
        f"augment.name={NAMES['augment.name']};augment.angle=10,20", config
    )
    runs = sweep_runs.make_runs(config, settings)
    assert [run.config.augment.angle for run in runs] == [10.0, 20.0]
    assert "angle" not in config.augment
    registry.choose(config, "augment.name", NAMES["augment.name"])
    assert config.augment.angle == 30.0
