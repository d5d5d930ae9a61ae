"""Which runs a sweep has, and what their folders are called."""

import pathlib

import pytest

from configs import base, digits_augmix
from experiments.sweeping import runs as sweep_runs


def test_axes_take_the_types_of_the_fields():
    text = "labels.rule=one_hot, autolabel; seed=0..2,7;labels.alpha=1,0.5;flip=false,True"
    runs = sweep_runs.parse_axes(text + ";optimizer.boundaries=(0.3,0.6),(0.5,)", base.base())
    assert len(runs) == 2 * 4 * 2 * 2 * 2
    assert {name: list(dict.fromkeys(run[name] for run in runs)) for name in runs[0]} == {
        "labels.rule": ["one_hot", "autolabel"],
        "seed": [0, 1, 2, 7],
        "labels.alpha": [1.0, 0.5],
        "flip": [False, True],
        "optimizer.boundaries": [(0.3, 0.6), (0.5,)],
    }
    assert {type(run["labels.alpha"]) for run in runs} == {float}
    assert sweep_runs.parse_axes("", base.base()) == [{}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "labels.rul=one_hot",
            "labels.rul: the config has no such field; the nearest is labels.rule",
        ),
        ("labels=one_hot", "is a group of fields; expected one of: labels.*, labels.rule"),
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
    def name(settings):
        return sweep_runs.Run(settings, base.base(), pathlib.Path()).name

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
    return str(path)


def test_get_sweep_of_a_config_file(tmp_path):
    path = write_config(tmp_path, "def get_sweep(add):\n    add(**{'seed': 3})\n    add(seed=4)\n")
    assert sweep_runs.from_config(path, None) == [{"seed": 3}, {"seed": 4}]
    with pytest.raises(ValueError, match="--sweep=x: .* takes no name"):
        sweep_runs.from_config(path, "x")
    named = write_config(tmp_path, "def get_sweep(add, name='a'):\n    add(name=name)\n")
    assert sweep_runs.from_config(named, None) == [{"name": "a"}]
    assert sweep_runs.from_config(named, "b") == [{"name": "b"}]
    with pytest.raises(ValueError, match="defines no get_sweep"):
        sweep_runs.from_config(write_config(tmp_path, ""), None)


def test_runs_are_the_product_and_each_comes_once():
    config = base.base()
    settings = [{"labels.rule": "one_hot", "seed": 1}, {"seed": 1}, {"seed": 1}]
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
        settings = sweep_runs.from_config(digits_augmix.__file__, name)
        assert len(sweep_runs.make_runs(digits_augmix.get_config(), settings)) == 5 * runs
    with pytest.raises(ValueError, match="expected one of: table, rules, alpha, buckets"):
        sweep_runs.from_config(digits_augmix.__file__, "rulez")
