"""Embeddings of images: what the last layer of a network gets, as a manifest."""

import dataclasses

import helpers
import numpy as np
import pytest
from pyarrow import parquet

from autolabel_jax import datasets, experiment
from autolabel_jax.evaluation.predict import Predictor
from autolabel_jax.evaluation.scaling import Scaling
from experiments import embedding


@pytest.fixture(scope="module")
def embedded():
    """A network, its data set with calibration examples cut out of the middle, and the table."""
    dataset = helpers.make_dataset(train=30, calibration=10, test=20)
    order = np.random.default_rng(0).permutation(40)
    dataset = dataclasses.replace(
        dataset,
        train=dataclasses.replace(dataset.train, index=np.sort(order[:30])),
        calibration=dataclasses.replace(dataset.calibration, index=np.sort(order[30:])),
        class_names=("a", "b", "c", "d"),
    )
    made = helpers.make_experiment(dataset, model__name="small_cnn", model__width=4)
    state = experiment.init_state(made, 0, dataset.spec.shape)
    variables = experiment.inference_variables(state)
    predictor = Predictor(made.model, variables, Scaling(1.0), 4, 16, made.mesh)
    return predictor, dataset, embedding.table(predictor, dataset)


def test_the_last_layer_makes_the_logits_of_the_embeddings(embedded):
    predictor, dataset, table = embedded
    head = predictor.variables["params"]["net"]["Dense_0"]
    found = np.array(table["input"].to_pylist(), np.float32)
    logits = found @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    for split, rows in (
        (dataset.train, dataset.train.index),
        (dataset.calibration, dataset.calibration.index),
        (dataset.test, 40 + np.arange(20)),
    ):
        np.testing.assert_allclose(logits[rows], predictor.logits(split), atol=1e-5)
        names = [dataset.class_names[k] for k in split.label]
        assert np.array(table["label"].to_pylist())[rows].tolist() == names
    assert table["split"].to_pylist() == ["train"] * 40 + ["test"] * 20


def test_they_are_a_data_set_of_feature_vectors(embedded, tmp_path):
    _, dataset, table = embedded
    parquet.write_table(table, tmp_path / "e.parquet")
    config = helpers.small_config(dataset="manifest", calibration__fraction=0.25)
    config.data_dir = str(tmp_path / "e.parquet")
    loaded = datasets.load(config)
    assert (loaded.spec.kind, loaded.spec.shape) == ("features", (8,))
    np.testing.assert_array_equal(loaded.test.label, dataset.test.label)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--out=e.csv"], "expected one of --config and --workdir"),
        (["--out=e.csv", *helpers.flags()], "expected a name that ends in .parquet"),
        (["--out=e.parquet", *helpers.flags()], "model.init_from: got '', expected the weights"),
    ],
)
def test_bad_requests_are_named(given, message):
    done = helpers.command("-m", "experiments.embed", *given)
    assert done.returncode != 0
    assert message in done.stderr
