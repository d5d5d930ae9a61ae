"""Seeds in one program: each leaves the files that its single run leaves."""

import helpers
import jax
import numpy as np
import pytest

from autolabel_jax import checkpoint, metric_writer, result, train, train_seeds

pytestmark = pytest.mark.xdist_group("sweeps")

SEEDS = (3, 7)
# Chosen images, edges of the seed's own, an average of parameters, a last batch that is padded.
CHANGES = {
    **{"epochs": 3, "augment__name": "mixup", "crop_pad": 2, "flip": True},
    **{"buckets__edges": "equal_mass", "optimizer__ema": 0.9, "eval_batch_size": 8},
    **{"calibration__images_per_update": 20},
}


def make_configs(seeds=SEEDS, **changes):
    return [helpers.small_config(seed=seed, **CHANGES | changes) for seed in seeds]


def folders(root, seeds=SEEDS):
    return [root / str(seed) for seed in seeds]


class After:
    """Stops when asked for the n-th time."""

    def __init__(self, n):
        self.n = n

    def __call__(self):
        self.n -= 1
        return self.n < 0


@pytest.fixture(autouse=True, scope="module")
def compile_once():
    """Runs here find what the first of them has compiled."""
    names = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")
    before = [getattr(jax.config, name) for name in names]
    jax.config.update(names[0], helpers.compilation_cache())
    jax.config.update(names[1], 0)
    yield
    for name, value in zip(names, before, strict=True):
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Folder of the single runs."""
    root = tmp_path_factory.mktemp("alone")
    for config, folder in zip(make_configs(), folders(root), strict=True):
        train.train(config, folder, progress=False)
    return root


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """Folder of the same runs in one program, and what it returned."""
    root = tmp_path_factory.mktemp("together")
    return root, train_seeds.train_seeds(make_configs(), folders(root), progress=False)


def assert_close(a, b):
    """Two JSON values: texts, null and lengths equal, numbers to five digits."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
    if isinstance(a, dict | list):
        assert len(a) == len(b)
        for name in a if isinstance(a, dict) else range(len(a)):
            assert_close(a[name], b[name])
    elif isinstance(a, float):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)
    else:
        assert a == b


def assert_same_runs(root, expected):
    for a, b in zip(folders(root), folders(expected), strict=True):
        assert (a / "config.json").read_text() == (b / "config.json").read_text()
        lines = helpers.read_metrics(a)
        assert len(lines) == 3
        assert_close(lines, helpers.read_metrics(b))
        for field in ("train_accuracy", "calibration_accuracy", "bucket_accuracy", "bucket_count"):
            assert [x[field] for x in lines] == [x[field] for x in helpers.read_metrics(b)]
        found, other = (metric_writer.read_json(w / "result.json") for w in (a, b))
        for free in ("seconds", "revision"):  # somebody may commit while the tests run
            assert found.pop(free) and other.pop(free)
        # A fit and resamples of it, whose rounding is larger.
        for field in [f for f in found if f.endswith(("_ts", "_interval")) or f == "temperature"]:
            np.testing.assert_allclose(found.pop(field), other.pop(field), rtol=1e-3, atol=1e-4)
        assert_close(found, other)
        with np.load(a / "test_logits.npz") as x, np.load(b / "test_logits.npz") as y:
            np.testing.assert_array_equal(x["label"], y["label"])
            np.testing.assert_allclose(x["logits"], y["logits"], rtol=1e-4, atol=1e-5)
        x, y = helpers.last_checkpoint(a), helpers.last_checkpoint(b)
        assert x.keys() == y.keys()
        for name in x:
            assert x[name].dtype == y[name].dtype
            np.testing.assert_allclose(x[name], y[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_each_seed_is_its_single_run(together, alone):
    root, results = together
    assert_same_runs(root, alone)
    assert [found["seed"] for found in results] == list(SEEDS)
    losses = {helpers.read_metrics(folder)[-1]["train_loss"] for folder in folders(root)}
    assert len(losses) == len(SEEDS)
    for found, folder in zip(results, folders(root), strict=True):
        assert found == metric_writer.read_json(folder / "result.json")


def test_a_seed_can_be_evaluated_by_itself(together):
    root, results = together
    again = result.evaluate_run(make_configs()[1], folders(root)[1])
    for field in ("accuracy", "nll", "ece", "temperature"):
        assert again[field] == results[1][field]


def test_stopped_in_an_epoch_it_goes_on_and_finished_ones_are_only_read(tmp_path, alone):
    configs, where = make_configs(), folders(tmp_path)
    with pytest.raises(train.Stopped, match="in epoch 2 of 3 after step 1 of 2, with 2 seeds"):
        train_seeds.train_seeds(configs, where, should_stop=After(4), progress=False)
    assert len(helpers.read_metrics(where[0])) == 1
    found = train_seeds.train_seeds(configs, where, progress=False)
    assert_same_runs(tmp_path, alone)
    assert train_seeds.train_seeds(configs, where, progress=False) == found


def test_many_steps_in_one_dispatch_are_the_same(tmp_path, monkeypatch):
    """As on accelerators, where the steps of an epoch are a scan."""
    plain = {"augment__name": "none", "buckets__edges": "equal_width", "epochs": 2}
    configs, where = make_configs(**plain), folders(tmp_path)
    expected = train.train(configs[1], tmp_path / "alone", progress=False)
    make = train.input_pipeline.training_batches
    changed = lambda *a, **k: make(*a, **k | {"most_steps": 100})  # noqa: E731
    monkeypatch.setattr(train.input_pipeline, "training_batches", changed)
    found = train_seeds.train_seeds(configs, where, progress=False)[1]
    assert_close(helpers.read_metrics(where[1]), helpers.read_metrics(tmp_path / "alone"))
    assert_close(found["nll"], expected["nll"])


@pytest.mark.parametrize(
    "more",
    [
        {
            **{"labels__momentum": 0.5, "labels__alpha_decay": 0.5, "labels__monotone": True},
            "labels__ece_estimate": "debiased",
        },
        {"labels__rule": "bucket_temperature"},
    ],
    ids=["options", "bucket_temperature"],
)
def test_all_of_the_label_state_is_each_seeds_own(tmp_path, more):
    configs = make_configs(**more)
    for config, folder in zip(configs, folders(tmp_path / "alone")):
        train.train(config, folder, progress=False)
    with pytest.raises(train.Stopped):
        train_seeds.train_seeds(configs, folders(tmp_path), should_stop=After(4), progress=False)
    train_seeds.train_seeds(configs, folders(tmp_path), progress=False)
    assert_same_runs(tmp_path, tmp_path / "alone")
    fields = [name for name in helpers.last_checkpoint(tmp_path / "3") if "['labels']" in name]
    assert len(fields) == (2 if "labels__rule" in more else 6)


def test_a_seed_that_stands_elsewhere_makes_all_start_over(tmp_path, alone):
    configs, where = make_configs(), folders(tmp_path)
    with pytest.raises(train.Stopped):
        train.train(configs[0], where[0], should_stop=After(4), progress=False)
    train_seeds.train_seeds(configs, where, progress=False)
    assert_same_runs(tmp_path, alone)


def test_a_seed_that_diverges_leaves_the_other_alone(tmp_path, alone, monkeypatch):
    first = checkpoint.first_snapshot

    def poisoned(parts, seed, example_shape):
        snapshot = first(parts, seed, example_shape)
        factor = np.float32(np.nan if seed == SEEDS[1] else 1)
        params = jax.tree.map(lambda x: factor * x, snapshot.state.params)
        return snapshot.replace(state=snapshot.state.replace(params=params))

    monkeypatch.setattr(checkpoint, "first_snapshot", poisoned)
    found = train_seeds.train_seeds(make_configs(), folders(tmp_path), progress=False)
    assert isinstance(found[1], train.NonFiniteLossError)
    assert "the training loss is nan in epoch 1, step 1 of 2" in str(found[1])
    assert "last good checkpoint: none yet" in str(found[1])
    good, bad = folders(tmp_path)
    assert not (bad / "result.json").exists()
    assert helpers.read_metrics(bad) == []
    assert found[0] == metric_writer.read_json(good / "result.json")
    assert_close(helpers.read_metrics(good), helpers.read_metrics(folders(alone)[0]))


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        (lambda: make_configs()[:1] + make_configs(epochs=4)[1:], "differ in more than `seed`"),
        (lambda: make_configs((3, 3, 4)), "a seed twice"),
        (lambda: make_configs(dataset="folder"), "stream: got photographs.*small data sets"),
    ],
)
def test_what_cannot_be_one_program_is_refused(tmp_path, configs, message):
    with pytest.raises(ValueError, match=message):
        train_seeds.train_seeds(configs(), folders(tmp_path))
    assert not list(tmp_path.iterdir())
