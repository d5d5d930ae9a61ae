"""task: what a config may ask for, the edges that follow, and the state to begin with."""

import dataclasses
import re
from typing import Any

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from autolabel_jax import datasets, input_pipeline, train, trained
from autolabel_jax import experiment as experiment_lib
from autolabel_jax.augment import Mixup


@pytest.fixture(scope="module")
def dataset():
    return helpers.make_dataset()


def refused(dataset, *parts, **changes):
    """The message of the refusal, which must hold each part."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the parts are matched below
        helpers.make_experiment(dataset, **changes)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("field", "known"),
    [
        (
            "augment.name",
            ("none", "augmix", "mixup", "adversarial", "randaugment", "given"),
        ),
        (
            "labels.rule",
            ("one_hot", "smoothing", "autolabel", "bucket_accuracy", "polynomial", "ccat"),
        ),
        ("labels.step", ("ece", "signed_gap")),
        ("model.name", ("wide_resnet", "resnet18", "small_cnn", "mlp")),
        ("optimizer.schedule", ("cosine", "step")),
        ("buckets.edges", ("equal_width", "equal_mass", "kmeans")),
        ("buckets.calibration_edges", ("equal_width", "equal_mass", "kmeans")),
        ("dtype", ("float32", "bfloat16")),
    ],
)
def test_an_unknown_name_lists_the_known_ones(dataset, field, known):
    refused(dataset, f"{field}: got 'nonsense'", *known, **{field: "nonsense"})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0),
        ("crop_pad", -1),
        ("batch_size", 0),
        ("eval_batch_size", 0),
        ("buckets.num", 0),
        ("labels.update_every", 0),
        ("labels.warmup_epochs", -1),
        ("labels.alpha", -1.0),
        ("calibration.num_bins", 0),
        ("checkpoint.keep", 0),
        ("checkpoint.every_epochs", 0),
        ("optimizer.learning_rate", -0.1),
        ("optimizer.ema", 1.0),
        ("buckets.num", 10**9),
        ("calibration.num_bins", 10**9),
        ("eval_batch_size", 10**12),
        ("model.width", 10**7),
        ("crop_pad", 6),
    ],
)
def test_a_number_out_of_range_names_its_field(dataset, field, value):
    refused(dataset, f"{field}: got {value}", **{field: value})


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("wide_resnet", {"model__depth": 10**6}, "model.depth: got 1000000, must be at most 202"),
        ("wide_resnet", {"model__width": 10**7}, "model.width: got 10000000, must be between"),
        ("small_cnn", {"model__width": 10**7}, "model.width: got 10000000, must be between"),
        # Two layers of 60,000 units: 60,000² + (6·6·3 + 4)·60,000 weights, 2·60,000 + 4 biases.
        ("mlp", {"model__width": 60_000}, "'mlp' would have 3,606,840,004 parameters"),
    ],
)
def test_a_model_too_large_is_refused_at_once(dataset, name, settings, message):
    refused(dataset, message, model__name=name, **settings)


WRONG = [  # of methods that a run uses, then of those that it does not, and of no method
    ("labels.alpha", -1.0, {"labels__rule": "autolabel"}),
    ("augment.max_depth", 0, {"augment__name": "augmix"}),
    ("labels.smoothing", 5.0, {"labels__rule": "autolabel"}),
    ("labels.rho", -1.0, {"labels__rule": "one_hot"}),
    ("augment.max_epsilon", -0.5, {}),
    ("augment.num_steps", 0, {}),
    ("model.depth", 27, {"model__name": "mlp"}),
    ("model.width", 10**7, {"model__name": "resnet18"}),
    ("buckets.edges", "thirds", {"augment__name": "given"}),
    ("buckets.calibration_edges", "thirds", {}),
    ("buckets.num", 50, {"buckets__edges": "equal_mass"}),  # all distances of 'none' are 0
    ("dtype", "float8", {}),
    ("optimizer.ema", 1.0, {}),
]


@pytest.mark.parametrize(("field", "value", "changes"), WRONG, ids=[field for field, *_ in WRONG])
def test_what_needs_no_data_is_refused_before_they_are_loaded(
    tmp_path, monkeypatch, field, value, changes
):
    monkeypatch.setattr(datasets, "load", lambda config: pytest.fail("data were loaded"))
    config = helpers.small_config(**changes | {field: value})
    for begin in (train.train, trained.restore):
        with pytest.raises(ValueError, match=rf"^{re.escape(field)}: got {value!r}"):
            begin(*((config, tmp_path / "run") if begin is train.train else (tmp_path, config)))
    assert not (tmp_path / "run").exists()


def test_a_setting_that_methods_share_may_suit_any_of_them():
    width = 60_000  # of mlp, but not of wide_resnet or small_cnn
    experiment_lib.check(helpers.small_config(model__name="resnet18", model__width=width))
    with pytest.raises(ValueError, match=r"model\.width: got 60000, must be between 1 and 4096"):
        experiment_lib.check(helpers.small_config(model__name="small_cnn", model__width=width))


def test_more_updates_than_can_be_counted(dataset):
    changes = {"epochs": 10**6, "batch_size": 1}
    helpers.make_experiment(dataset, **changes)  # 48 million
    large = helpers.make_dataset(shape=(1,), train=3000)
    refused(large, "epochs: got 1000000 of 3000 updates", "2,147,483,647", **changes)


class Flat(nn.Module):
    """Takes vectors only, and returns one logit too few."""

    num_classes: int
    dtype: Any = jnp.float32

    def __call__(self, x, train=False):
        if x.ndim != 2:
            raise TypeError("expected [B, features]\n\nbut got more axes")
        return jnp.zeros((len(x), self.num_classes - 1))


def test_inputs_that_the_model_cannot_take(dataset):
    own = f"{__name__}:Flat"
    with pytest.raises(ValueError, match=r"^model\.name: .*Flat' cannot be built.*") as caught:
        helpers.make_experiment(dataset, model__name=own)
    assert "[6, 6, 3] (TypeError: expected [B, features] but got more axes)" in str(caught.value)
    refused(
        helpers.make_dataset(shape=(5,)),
        "returns logits of shape [1, 3]",
        "[1, 4]",
        model__name=own,
    )


@pytest.mark.parametrize("boundaries", [("a", "b"), (0.3, "b"), (0.5, float("nan"))])
def test_boundaries_must_be_numbers(dataset, boundaries):
    refused(dataset, "optimizer.boundaries: got", optimizer__boundaries=boundaries)


def test_a_batch_larger_than_the_training_set(dataset):
    refused(dataset, "batch_size: got 49", "48 training examples", batch_size=49)


def test_given_without_distances(dataset):
    refused(dataset, "augment.name: got 'given'", "distance", augment__name="given")


@pytest.mark.parametrize("name", ["augmix", "randaugment"])
def test_image_operations_want_images_of_uint8(dataset, name):
    floats = as_float(dataset, 0, 1)
    refused(floats, name, "uint8", augment__name=name)
    refused(helpers.make_dataset(shape=(5,)), name, augment__name=name)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1.0), (0.0, 2.0)])
def test_adversarial_wants_a_pixel_range_of_one(dataset, low, high):
    floats = as_float(dataset, low, high)
    refused(floats, "augment.name: got 'adversarial'", f"{low:g}", augment__name="adversarial")
    helpers.make_experiment(as_float(dataset, 0, 1), augment__name="adversarial")


@pytest.mark.parametrize("changes", [{"crop_pad": 1}, {"flip": True}])
def test_vectors_are_neither_cropped_nor_flipped(changes):
    dataset = helpers.make_dataset(shape=(5,))
    with pytest.warns(UserWarning, match=r"crop_pad, flip: .*'features'.*neither cropped"):
        experiment = helpers.make_experiment(dataset, **changes)
    assert experiment.crop_pad == 0
    assert not experiment.flip


def test_a_convolutional_network_wants_images():
    dataset = helpers.make_dataset(shape=(5,))
    refused(dataset, "model.name: 'small_cnn' accepts", "'features'", model__name="small_cnn")


def as_float(dataset, low, high):
    image = np.random.default_rng(0).uniform(low, high, dataset.train.input.shape)
    image.flat[:2] = low, high
    train = dataclasses.replace(dataset.train, input=image.astype(np.float32))
    return dataclasses.replace(dataset, train=train)


def test_incomplete_batches_are_left_out_of_an_epoch(dataset):
    assert helpers.make_experiment(dataset, batch_size=20).steps_per_epoch == 2
    assert helpers.make_experiment(dataset, batch_size=48).steps_per_epoch == 1


@pytest.mark.parametrize(
    ("changes", "groups"),
    [
        ({"augment__name": "none"}, 1),
        ({"augment__name": "mixup"}, 1),
        ({"augment__name": "augmix", "augment__max_depth": 3}, 3),
        ({"augment__name": "augmix", "augment__max_depth": 2}, 2),
    ],
)
def test_buckets_are_groups_times_intervals(dataset, changes, groups):
    experiment = helpers.make_experiment(dataset, buckets__num=4, **changes)
    assert experiment.num_buckets == 4 * groups
    np.testing.assert_allclose(experiment.edges, [0, 0.25, 0.5, 0.75, 1])


def test_equal_mass_edges_of_mixup_are_quantiles_of_its_distance(dataset):
    mixup = {"augment__name": "mixup", "buckets__edges": "equal_mass", "buckets__num": 4}
    rng = np.random.default_rng(0)
    gamma = rng.beta(0.3, 0.3, 400_000)
    drawn = 2 * np.minimum(gamma, 1 - gamma)
    skewed = helpers.make_experiment(dataset, augment__concentration=0.3, **mixup)
    np.testing.assert_allclose(skewed.edges[1:-1], np.quantile(drawn, [0.25, 0.5, 0.75]), atol=0.02)


def test_edges_of_equal_width_draw_no_distance(dataset, monkeypatch):
    monkeypatch.setattr(Mixup, "draw", None)  # which compiles for a second
    made = helpers.make_experiment(dataset, augment__name="mixup", buckets__num=4)
    np.testing.assert_array_equal(made.edges, [0, 0.25, 0.5, 0.75, 1])
    with pytest.raises(TypeError, match="NoneType"):
        helpers.make_experiment(
            dataset, augment__name="mixup", buckets__calibration_edges="equal_mass"
        )


def test_edges_of_given_distances_are_those_of_the_training_set():
    dataset = helpers.make_dataset(distance=True)
    experiment = helpers.make_experiment(
        dataset, augment__name="given", buckets__edges="equal_mass", buckets__num=2
    )
    assert experiment.edges[1] == pytest.approx(np.median(dataset.train.distance), abs=1e-6)


def test_calibration_edges_may_differ(dataset):
    experiment = helpers.make_experiment(
        dataset,
        augment__name="mixup",
        augment__concentration=0.3,
        buckets__num=2,
        buckets__edges="equal_mass",
        buckets__calibration_edges="equal_width",
    )
    assert experiment.edges[1] < 0.4
    assert experiment.calibration_edges[1] == 0.5


def test_labels_start_as_the_augmentation_would_have_them(dataset):
    def first_labels(**changes):
        experiment = helpers.make_experiment(dataset, buckets__num=4, **changes)
        return experiment_lib.init_state(
            experiment, 0, dataset.train.input.shape[1:]
        ).labels.confidence

    np.testing.assert_array_equal(first_labels(augment__name="augmix"), np.ones(12))
    # 1 - γ at the middle of the bucket, γ = s/2.
    np.testing.assert_allclose(
        first_labels(augment__name="mixup"), 1 - np.array([0.125, 0.375, 0.625, 0.875]) / 2
    )


def test_parameters_hang_on_the_seed_alone(dataset):
    experiment = helpers.make_experiment(dataset)
    states = [
        experiment_lib.init_state(experiment, seed, dataset.train.input.shape[1:])
        for seed in (3, 3, 4)
    ]
    kernels = [np.asarray(s.params["net"]["Dense_0"]["kernel"]) for s in states]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01
    assert int(states[0].step) == 0
    assert states[0].ema_params is None


def test_inference_runs_on_averages_where_there_are_some(dataset):
    model = {"model__name": "small_cnn", "model__width": 4}
    for ema in (0.0, 0.9):
        experiment = helpers.make_experiment(dataset, optimizer__ema=ema, **model)
        state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
        variables = experiment_lib.inference_variables(state)
        assert variables["params"] is (state.ema_params if ema else state.params)
        assert variables["batch_stats"] is (state.ema_batch_stats if ema else state.batch_stats)


def test_input_gradient_equals_central_differences(dataset):
    experiment = helpers.make_experiment(dataset)
    state = experiment_lib.init_state(experiment, 0, dataset.train.input.shape[1:])
    image = dataset.train.input[:3].astype(np.float64) / 255
    label = dataset.train.label[:3]
    net = jax.tree.map(lambda p: np.asarray(p, np.float64), state.params)["net"]

    def loss(image):
        x = ((image - 0.5) / 0.3).reshape(3, -1)
        for name in ("Dense_0", "Dense_1"):
            x = np.maximum(x @ net[name]["kernel"] + net[name]["bias"], 0)
        logits = x @ net["Dense_2"]["kernel"] + net["Dense_2"]["bias"]
        return np.log(np.exp(logits).sum(-1)) - logits[np.arange(3), label]

    gradient = experiment_lib.input_gradient(experiment, experiment_lib.inference_variables(state))
    found = np.asarray(jax.jit(gradient)(image.astype(np.float32), label))
    rng = np.random.default_rng(0)
    for pixel in rng.integers(0, [6, 6, 3], (10, 3)):
        step = np.zeros(image.shape)
        step[(slice(None), *pixel)] = 1e-5
        by_difference = (loss(image + step) - loss(image - step)) / 2e-5
        np.testing.assert_allclose(found[(slice(None), *pixel)], by_difference, atol=1e-4)


def test_one_mesh_axis_over_all_devices():
    mesh = input_pipeline.make_mesh()
    assert mesh.axis_names == ("data",)
    assert mesh.devices.size == jax.device_count()


def test_batch_norm_that_is_not_there_cannot_be_frozen(dataset):
    refused(dataset, "model.freeze_batch_norm: got True, but 'mlp'", model__freeze_batch_norm=True)
