"""Every config: the fields of the base, the variants, and one that trains."""

import importlib
import pathlib

import photograph_folders
import pytest
from absl import flags

from autolabel_jax import augment, buckets, labels, losses, models, optimizer, train
from configs import base, digits_methods, methods, sweeps
from experiments import config_flag
from experiments.sweeping import runs as sweep_runs

FOLDER = pathlib.Path(base.__file__).parent
OTHERS = ("base", "methods", "sweeps", "__init__")
NAMES = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in OTHERS)


def get(name, arg=None):
    return importlib.import_module(f"configs.{name}").get_config(arg)


def fields(tree, prefix=""):
    """Names and types of all fields, with their dots."""
    found = {}
    for name, value in tree.items():
        inner = hasattr(value, "items")
        found |= fields(value, f"{prefix}{name}.") if inner else {f"{prefix}{name}": type(value)}
    return found


def test_the_configs_are_found():
    assert {"digits_augmix", "cifar10_augmix", "cifar10_small"} <= set(NAMES)


@pytest.mark.parametrize("arg", [None, "", "tiny"])
@pytest.mark.parametrize("name", NAMES)
def test_has_the_fields_of_the_base_and_known_names(name, arg):
    config = get(name, arg)
    assert fields(config) == fields(base.base())
    assert config.name == (f"{name}_tiny" if arg == "tiny" else name)
    assert config.augment.name in augment.TABLE
    assert config.labels.rule in labels.TABLE
    assert config.loss.name in losses.TABLE
    assert config.model.name in models.TABLE
    assert config.dtype in models.DTYPES
    assert config.buckets.edges in buckets.EDGES


@pytest.mark.parametrize("name", NAMES)
def test_tiny_is_small_and_still_the_same_experiment(name):
    config, tiny = get(name), get(name, "tiny")
    assert tiny.epochs * tiny.train_examples <= 3600
    assert tiny.batch_size <= tiny.train_examples * (1 - tiny.calibration.fraction)
    same = (
        "dataset",
        "stream",
        "seed",
        "augment",
        "labels",
        "loss",
        "calibration",
        "optimizer",
        "crop_pad",
        "flip",
    )
    config.augment.num_steps = tiny.augment.num_steps  # of an attack: fewer in tiny
    config.optimizer.warmup_epochs = tiny.optimizer.warmup_epochs  # no longer than the run
    assert tiny.optimizer.warmup_epochs <= tiny.epochs
    for field in same:
        assert tiny[field] == config[field], field


@pytest.mark.parametrize("name", NAMES)
def test_another_variant_is_refused(name):
    with pytest.raises(ValueError, match="'nonsense', expected 'tiny'"):
        get(name, "nonsense")


def test_a_misspelt_variant_is_named_in_one_line():
    values = flags.FlagValues()
    config_flag.define(values)
    parser = values["config"].parser
    assert parser.parse(f"{FOLDER}/digits.py:tiny").name == "digits_tiny"
    with pytest.raises(ValueError, match="^--config=…:tinyy: got 'tinyy', expected 'tiny'$"):
        parser.parse(f"{FOLDER}/digits.py:tinyy")


@pytest.mark.parametrize("name", NAMES)
def test_docstring_has_the_command(name):
    text = importlib.import_module(f"configs.{name}").__doc__
    commands = [f"python -m experiments.{c} --config=configs/{name}.py" for c in ("train", "sweep")]
    assert any(command in text for command in commands)


IMAGENET = [name for name in NAMES if name.startswith("imagenet_") and name != "imagenet_64"]


def test_the_recipe_of_imagenet_is_that_of_its_source():
    """Goyal et al. 2017, section 5.1, whatever the labels and the augmentation are."""
    assert len(IMAGENET) == 6
    for name in IMAGENET:
        config = get(name)
        steps = (1_281_167 - 10_000) // config.batch_size
        rate = optimizer.make_schedule(config.optimizer, config.epochs, steps)
        peak = 0.1 * config.batch_size / 256
        for epoch, expected in ((5, peak), (29, peak), (31, peak / 10), (61, peak / 100)):
            assert float(rate(epoch * steps)) == pytest.approx(expected), (name, epoch)
        assert float(rate(89 * steps)) == pytest.approx(peak / 1000)
        settings = config.optimizer
        assert (settings.momentum, settings.nesterov, settings.weight_decay) == (0.9, True, 1e-4)
        assert settings.decay_kernels_only
        assert (config.model.name, config.image_size, config.crop_pad) == ("resnet50", 224, 0)
    labels_of = {name: get(name).labels.rule for name in IMAGENET}
    assert labels_of["imagenet_one_hot"] == "one_hot"
    assert labels_of["imagenet_smoothing"] == "smoothing"


@pytest.mark.slow
def test_tiny_imagenet_trains_on_a_folder(tmp_path):
    config = get("imagenet_smoothing", "tiny")
    config.dataset = "folder"
    config.data_dir = photograph_folders.write(tmp_path / "photos", train=12, held=3)
    config.calibration.fraction = 0.5
    config.epochs, config.batch_size, config.image_size, config.loader_workers = 1, 8, 16, 0
    found = train.train(config, tmp_path / "run", progress=False)
    assert (found["train_examples"], found["calibration_examples"]) == (18, 18)
    assert found["test_examples"] == 9
    assert 0 <= found["accuracy"] <= 1


@pytest.mark.slow
def test_tiny_digits_train(tmp_path):
    config = get("digits_augmix", "tiny")
    config.epochs, config.train_examples, config.model.width = 1, 240, 4
    config.augment.max_depth = 1
    found = train.train(config, tmp_path, progress=False)
    assert found["name"] == "digits_augmix_tiny"
    assert found["augmentation"] == "augmix"
    assert found["test_examples"] == 500
    assert 0 <= found["accuracy"] <= 1


SWEPT = [name for name in NAMES if hasattr(importlib.import_module(f"configs.{name}"), "get_sweep")]


def swept(name, study=None):
    module = importlib.import_module(f"configs.{name}")
    return sweep_runs.make_runs(module.get_config(), sweep_runs.from_config(module.__file__, study))


# Configs with studies of their own; the others have those of configs/sweeps.py.
OWN = {"cifar10n_5000": [None], "digits_methods": [None, "trials"]}
STUDIES = [(name, study) for name in SWEPT for study in OWN.get(name, [None, *sweeps.STUDIES])]


@pytest.mark.parametrize(("name", "study"), STUDIES)
def test_every_run_of_a_study_has_parts_that_can_be_made(name, study):
    runs = swept(name, study)
    assert len({run.config.to_json() for run in runs}) == len(runs) > 1
    for run in runs:
        augment.create(run.config)
        labels.create(run.config)
        losses.create(run.config)
    for seed in {run.config.seed for run in runs}:
        rules = {run.config.labels.rule for run in runs if run.config.seed == seed}
        assert "one_hot" in rules  # each seed has what the others are compared with


def test_the_table_has_every_augmentation_with_every_rule():
    runs = swept("digits")
    assert len(runs) == 5 * (5 * 7 - 1)
    cells = {(r.config.augment.name, r.config.labels.rule) for r in runs}
    assert cells >= {(a, "autolabel") for a in sweeps.AUGMENTATIONS}
    assert ("none", "polynomial") not in cells
    assert {r.config.buckets.num for r in runs if r.config.augment.name == "none"} == {1}


def test_seeds_come_outermost_and_an_unknown_study_is_named():
    seeds = [run.config.seed for run in swept("digits")]
    assert seeds == sorted(seeds)
    with pytest.raises(ValueError, match="expected one of: table, rules, alpha"):
        swept("digits", "alhpa")


def test_the_study_of_methods_has_the_chosen_settings_and_a_teacher_for_distill():
    runs = swept("digits_methods")
    assert len(runs) == 5 * (2 * 12 + 2 + 2 * 10 + 3)
    smoothed = {r.config.labels.smoothing for r in runs if r.config.labels.rule == "smoothing"}
    assert smoothed == {digits_methods.CHOSEN["smoothing"]["labels.smoothing"]}
    tried = {r.config.loss.margin for r in swept("digits_methods", "trials")}
    assert tried >= set(methods.TRIALS["mbls"][1])
    assert {run.config.labels.teacher for run in swept("digits_methods", "distill")} == {
        digits_methods.TEACHER
    }
    with pytest.raises(ValueError, match="expected one of: methods, trials, distill"):
        swept("digits_methods", "method")


def test_each_method_was_tried_with_four_values():
    methods_with_trials = {**methods.AUGMENTATIONS, **methods.RULES, "autolabel": {}}
    assert methods.TRIALS.keys() <= methods_with_trials.keys()
    assert {len(values) for _, values in methods.TRIALS.values()} == {4}
    for name, (field, values) in methods.TRIALS.items():
        assert digits_methods.CHOSEN[name][field] in values
