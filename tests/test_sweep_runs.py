"""Which runs a sweep has, and what their folders are called."""

import helpers
import pytest

from configs import base, digits_augmix
from experiments.sweeping import runs as sweep_runs


def test_axes_take_the_types_of_the_fields():
    text = "labels.rule=one_hot, autolabel; seed=0..2,7;labels.alpha=1,0.5;flip=false,True"
    axes = sweep_runs.parse_axes(text + ";optimizer.boundaries=(0.3,0.6),(0.5,)", base.base())
    assert axes == {
        "labels.rule": ["one_hot", "autolabel"],
        "seed": [0, 1, 2, 7],
        "labels.alpha": [1.0, 0.5],
        "flip": [False, True],
        "optimizer.boundaries": [(0.3, 0.6), (0.5,)],
    }
    assert [type(v) for v in axes["labels.alpha"]] == [float, float]
    assert len(sweep_runs.grid(axes)) == 2 * 4 * 2 * 2 * 2
    assert sweep_runs.grid({}) == [{}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels.rul=one_hot", "labels.rul: the config has no such field.*rule"),
        ("labels=one_hot", "is a group of fields"),
        ("seed=1.5", "seed: got '1.5', .* type int"),
        ("labels.alpha=high", "labels.alpha: got 'high', .* type float"),
        ("seed", "got 'seed'; expected each field once"),
        ("seed=1;seed=2", "each field once"),
        ("seed=3..1", "is empty"),
    ],
)
def test_axes_that_cannot_be_read(text, message):
    with pytest.raises(ValueError, match=message):
        sweep_runs.parse_axes(text, base.base())


def test_names_of_folders():
    name = sweep_runs.folder_name
    assert name({"seed": 0, "labels.rule": "one_hot"}) == "labels.rule=one_hot,seed=0"
    assert name({"labels.rule": "one_hot", "seed": 0}) == "labels.rule=one_hot,seed=0"
    assert name({"optimizer.boundaries": (0.5, 0.75)}) == "optimizer.boundaries=0.5+0.75"
    assert name({}) == "base"
    odd = [name({"dataset": value}) for value in ("a/b", "a_b", "a b", "../x", "x" * 300)]
    assert len(set(odd)) == len(odd)
    assert all("/" not in text and " " not in text and len(text) < 200 for text in odd)


def write_config(folder, sweep: str):
    path = folder / "mine.py"
    path.write_text(
        f"from configs import base\n\n\ndef get_config():\n    return base.base()\n\n\n{sweep}"
    )
    return sweep_runs.load_module(str(path))


def test_get_sweep_of_a_config_file(tmp_path):
    module = write_config(
        tmp_path, "def get_sweep(add):\n    add(**{'seed': 3})\n    add(seed=4)\n"
    )
    assert sweep_runs.from_module(module, None) == [{"seed": 3}, {"seed": 4}]
    with pytest.raises(ValueError, match="--sweep=x: .* takes no name"):
        sweep_runs.from_module(module, "x")
    named = write_config(tmp_path, "def get_sweep(add, name='a'):\n    add(name=name)\n")
    assert sweep_runs.from_module(named, None) == [{"name": "a"}]
    assert sweep_runs.from_module(named, "b") == [{"name": "b"}]
    with pytest.raises(ValueError, match="defines no get_sweep"):
        sweep_runs.from_module(write_config(tmp_path, ""), None)


def test_runs_are_the_product_and_each_comes_once():
    config = base.base()
    settings = sweep_runs.product([{"labels.rule": "one_hot"}, {}], [{"seed": 1}, {"seed": 1}])
    runs = sweep_runs.make_runs(config, settings)
    assert [run.name for run in runs] == ["labels.rule=one_hot,seed=1", "seed=1"]
    assert runs[0].config.labels.rule == "one_hot" and runs[1].config.labels.rule == "autolabel"
    assert config.seed == 0
    for wrong, message in (({"sed": 1}, "sed: .* no such field"), ({"seed": "1"}, "seed: got '1'")):
        with pytest.raises(ValueError, match=message):
            sweep_runs.make_runs(config, [wrong])
    with pytest.raises(ValueError, match="no run"):
        sweep_runs.make_runs(config, [])


def test_sweeps_of_the_configs():
    for name, runs in (("rules", 7), ("alpha", 7), ("buckets", 6)):  # one-hot is in each
        settings = sweep_runs.from_module(digits_augmix, name)
        assert len(sweep_runs.make_runs(digits_augmix.get_config(), settings)) == 5 * runs
    with pytest.raises(ValueError, match="expected one of: table, rules, alpha, buckets"):
        sweep_runs.from_module(digits_augmix, "rulez")


def test_importing_it_takes_no_device():
    code = "import experiments.sweep, jax._src.xla_bridge as x; print(x.backends_are_initialized())"
    assert helpers.command("-c", code).stdout.split() == ["False"]
