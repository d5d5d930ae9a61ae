"""Settings that classes declare, and names in a config that stand for classes."""

import dataclasses
import importlib
from typing import ClassVar

import jax
import pytest
from ml_collections import ConfigDict

from autolabel_jax import augment, image_ops, labels, losses, models, registry, train
from configs import base, sweeps
from experiments import config_help
from experiments.reporting import frame as frames
from experiments.sweeping import search as sweep_search
from tests import helpers

OWN = f"{__name__}:Own"


@dataclasses.dataclass(frozen=True)
class Own:
    """A method from outside the project."""

    size: float = registry.setting(2.0, "how large", low=1, high=3)
    count: int = 5  # a plain default is a setting without limits
    power: float = registry.setting(7.0, "another default than polynomial's")


class Undecorated(labels.LabelRule):
    """Lacks the decorator that makes its setting a field."""

    size: float = registry.setting(2.0, "how large")


def config():
    return base.base().lock()


def test_settings_of_a_class():
    declared = registry.settings(Own)
    assert {name: setting.default for name, setting in declared.items()} == {
        "size": 2.0,
        "count": 5,
        "power": 7.0,
    }
    assert declared["size"].help == "how large"
    assert "num_classes" not in registry.settings(models.find("mlp"))


@pytest.mark.parametrize("package", [augment, labels, losses])
def test_methods_that_share_a_setting_agree_on_it(package):
    """The config has one field for both, with one default."""
    shared = {}
    for method in package.TABLE.values():
        for name, setting in registry.settings(method).items():
            assert shared.setdefault(name, setting.default) == setting.default, name
            assert setting.help, name
    assert shared == registry.defaults(package.TABLE)


@pytest.mark.parametrize(
    ("setting", "good", "bad", "message"),
    [
        ({"low": 1, "high": 3}, (1, 2.5, 3), (0.9, float("nan")), "must be between 1 and 3"),
        ({"low": 0}, (0, 1e9), (-1,), "must be at least 0"),
        ({"high": 4}, (-1, 4), (5,), "must be at most 4"),
        ({"choices": ("a", "b")}, ("a",), ("c",), "expected one of: a, b"),
        ({"valid": lambda x: x % 2 == 0, "needs": "even"}, (2,), (3,), "must be even"),
        ({}, ("anything", 1), (), ""),
    ],
)
def test_values_are_checked_against_limits(setting, good, bad, message):
    declared = registry.Setting(good[0], **setting)
    for value in good:
        declared.check("part.field", value)
    for value in bad:
        with pytest.raises(ValueError, match=rf"part\.field: got .*{message}"):
            declared.check("part.field", value)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), float("nan")])
def test_a_number_must_be_finite(value):
    for declared in (registry.Setting(1.0), registry.Setting(1.0, low=0)):
        with pytest.raises(ValueError, match=r"part\.field: got -?(inf|nan), must be"):
            declared.check("part.field", value)


@pytest.mark.parametrize("package", [augment, labels, losses])
def test_every_value_of_a_default_search_range_is_allowed(package):
    for method in package.TABLE.values():
        for name, declared in registry.settings(method).items():
            for end in filter(None, declared.search.removeprefix("log:").split("..")):
                declared.check(name, float(end))


def test_what_is_a_name_from_outside():
    assert registry.is_external("my_pkg.spin:Spin")
    for name in ("augmix", "mnist:3.0.1", "cifar10_corrupted/fog_3", "a:b:c", ":Spin", ""):
        assert not registry.is_external(name), name


def test_binding_takes_the_configs_values_and_else_defaults():
    own = registry.bind("part", Own, ConfigDict({"size": 1.5, "unread": 9}))
    assert own == Own(size=1.5)
    with pytest.raises(ValueError, match=r"part\.size: got 4, must be between 1 and 3"):
        registry.bind("part", Own, {"size": 4})


def test_choosing_a_method_brings_its_defaults():
    chosen = config()
    registry.choose(chosen, "labels.rule", OWN)
    assert chosen.labels.rule == OWN
    assert (chosen.labels.size, chosen.labels.count) == (2.0, 5)
    assert chosen.labels.power == 7.0  # not polynomial's
    assert chosen.is_locked
    registry.choose(chosen, "dataset", OWN)
    added = {"size": 2.0, "count": 5, "power": 7.0}
    assert chosen.data.to_dict() == base.base().data.to_dict() | added


def test_completing_a_config_leaves_what_is_there():
    named = config()
    named.labels.rule = OWN
    registry.complete(named)
    assert named.labels.power == base.base().labels.power
    assert named.labels.size == 2.0
    assert registry.complete(config()).to_json() == config().to_json()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "expected one of: one_hot, .*, or module:Class"),
        ("no.such.module:Own", "module 'no.such.module' cannot be imported"),
        (f"{__name__}:Missing", "has no class 'Missing'"),
        (f"{__name__}:config", "has no class 'config'"),
        (f"{__name__}:Undecorated", "settings need @dataclasses.dataclass"),
        (OWN, "must be a subclass of autolabel_jax.labels.base.LabelRule"),
    ],
)
def test_what_is_no_method_is_named(name, message):
    with pytest.raises(ValueError, match=rf"labels\.rule: got '{name}'.*{message}"):
        labels.find(name)


@dataclasses.dataclass(frozen=True)
class Shift(augment.Augmentation):
    """A throw-away augmentation: adds up to ``shift`` to every pixel."""

    title: ClassVar[str] = "shift"
    group_name: ClassVar[str] = "shift"
    num_buckets: ClassVar[int | None] = 2
    shift: float = registry.setting(0.1, "largest shift", low=0, high=1, search="0.1..0.5")

    def draw(self, key, num):
        return augment.one_group(jax.random.uniform(key, (num,)))

    def apply(self, key, batch, distance, input_gradient=None):
        moved = image_ops.to_float(batch.input)
        moved += self.shift * distance.value.reshape(-1, *(1,) * (moved.ndim - 1))
        return augment.unmixed(moved, batch.label, distance)


@dataclasses.dataclass(frozen=True)
class Halfway(labels.OneHot):
    """A throw-away label rule: the mean of one-hot labels and of the state's."""

    title: ClassVar[str] = "halfway"
    share: float = registry.setting(0.5, "share of the state's labels", low=0, high=1)


def test_a_new_row_of_a_table_is_all_that_a_built_in_method_takes(monkeypatch, tmp_path):
    """Trained, swept, searched, listed and tabled: nothing but the row knows of it."""
    monkeypatch.setitem(augment.TABLE, "shift", Shift)
    monkeypatch.setitem(labels.TABLE, "halfway", Halfway)
    config = base.base()
    assert (config.augment.shift, config.labels.share) == (0.1, 0.5)
    assert config_help.describe(config)["augment.shift"] == "shift: largest shift"
    config.update(helpers.small_config(augment__name="shift", labels__rule="halfway"))
    assert sweep_search.default_space(config) == "augment.shift=0.1..0.5"
    runs = []
    importlib.reload(sweeps).sweep(lambda **run: runs.append(run), "table", seeds=[0])
    assert {"shift", "none"} < {run["augment.name"] for run in runs}
    assert "halfway" in {run["labels.rule"] for run in runs}
    assert {r.get("buckets.num") for r in runs if r["augment.name"] == "shift"} == {2}
    config.augment.shift = 0.2
    train.train(config, tmp_path, progress=False)
    frame, _ = frames.load([str(tmp_path)])
    assert (frame["augmentation"][0], frame["labels"][0]) == ("shift", "halfway")
    settings = frame["record"][0].settings
    assert settings["augment.shift"] == 0.2
    assert "augment.severity" not in settings
    monkeypatch.undo()
    importlib.reload(sweeps)


def test_a_setting_of_a_built_in_method_out_of_range_is_named(monkeypatch):
    monkeypatch.setitem(augment.TABLE, "shift", Shift)
    config = base.base()
    config.augment.update(name="shift", shift=2.0)
    with pytest.raises(ValueError, match=r"augment\.shift: got 2\.0, must be between 0 and 1"):
        augment.create(config)
