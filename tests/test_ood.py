"""Telling the test split from other data, against scikit-learn, SciPy and passes by hand."""

import helpers
import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics

from autolabel_jax import datasets, files, train, trained
from autolabel_jax.calibrators import TABLE, HeldOut
from autolabel_jax.datasets import Dataset
from autolabel_jax.evaluation import calibrated, ood
from autolabel_jax.evaluation.calibrated import Outputs
from autolabel_jax.evaluation.scaling import Scaling
from autolabel_jax.metrics import detection
from experiments.reporting import naming, rendering


def make_scores(seed, n=300, m=200, levels=None):
    """Scores of test inputs and of lower ones; with ``levels``, of so few values that many tie."""
    rng = np.random.default_rng(seed)
    inside, outside = rng.normal(1, 1, n), rng.normal(0, 1.5, m)
    return (np.round(x * levels) if levels else x for x in (inside, outside))


def by_scikit_learn(inside, outside):
    """(AUROC, FPR@95) with the other data as the positive class, as OpenOOD computes them."""
    positive = np.repeat([0, 1], [len(inside), len(outside)])
    score = -np.concatenate([inside, outside])
    fpr, tpr, _ = metrics.roc_curve(positive, score, drop_intermediate=False)
    return metrics.roc_auc_score(positive, score), fpr[np.argmax(tpr >= 0.95)]


@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("seed", range(3))
def test_equals_scikit_learn(seed, levels):
    inside, outside = make_scores(seed, levels=levels)
    found = detection.detect(inside, outside)
    np.testing.assert_allclose(np.ravel(found), by_scikit_learn(inside, outside), rtol=1e-12)


@pytest.mark.parametrize("chunk", [1, 2**22])
def test_counts_equal_repeated_examples(chunk, monkeypatch):
    monkeypatch.setattr(detection, "CHUNK_ELEMENTS", chunk)
    inside, outside = make_scores(5, 60, 40, levels=3)
    counts = ood.resample_counts(60, 40)
    found = detection.detect(inside, outside, counts)
    assert found.auroc.shape == found.fpr95.shape == (1000,)
    for s in (0, 7, 999):
        drawn = (np.repeat(x, c[s].astype(int)) for x, c in zip((inside, outside), counts))
        expected = by_scikit_learn(*drawn)
        np.testing.assert_allclose([found.auroc[s], found.fpr95[s]], expected, rtol=1e-12)


def test_limits():
    low, high = np.arange(10.0), np.arange(100.0, 120)
    assert np.ravel(detection.detect(high, low)).tolist() == [1, 0]
    assert np.ravel(detection.detect(low, high)).tolist() == [0, 1]
    assert np.ravel(detection.detect(np.ones(7), np.ones(9))).tolist() == [0.5, 1]
    # Of 20 inputs of other data 19 are found: the threshold is the second highest.
    other = np.arange(20.0)
    assert detection.detect(np.array([17.5, 18, 18.5, 30]), other).fpr95 == 0.5
    assert np.isnan(np.ravel(detection.detect(low, low[:0]))).all()
    assert np.isnan(np.ravel(detection.detect(low, np.array([1, np.nan])))).all()


def test_scores():
    logits = np.random.default_rng(0).normal(0, 4, (50, 6)).astype(np.float32)
    scale, bias = np.linspace(0.5, 2, 6), np.arange(6.0)
    found = ood.scores(logits, Scaling(2.5, (scale, bias)))
    probability = special.softmax(logits.astype(float), -1)
    expected = {
        "confidence": probability.max(-1),
        "entropy": -stats.entropy(probability, axis=-1),
        "energy": np.log(np.exp(logits.astype(float)).sum(-1)),
        "confidence_ts": special.softmax(logits / 2.5, -1).max(-1),
        "confidence_vs": special.softmax(logits * scale + bias, -1).max(-1),
    }
    assert list(found) == list(expected) == list(naming.SCORES)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-5)
    sharp = detection.scores(np.array([[1000.0, 0, 0], [0, 0, 0]]))
    np.testing.assert_allclose(sharp["confidence"], [1, 1 / 3])
    np.testing.assert_allclose(sharp["entropy"], [0, -np.log(3)])
    np.testing.assert_allclose(sharp["energy"], [1000, np.log(3)])


def dataset_of(dtype, seed=0):
    """Images whose channels have means .2, .5 and .8, and a standard deviation of .05."""
    dataset = helpers.make_dataset(shape=(24, 24, 3), test=40, seed=seed)
    own = {"mean": np.array([0.2, 0.5, 0.8]), "std": np.full(3, 0.05)}
    if dtype == "uint8":
        return Dataset(**vars(dataset) | own)
    splits = {n: getattr(dataset, n) for n in ("train", "calibration", "test")}
    splits = {
        n: datasets.Split((s.input / 127.5 - 1).astype(np.float32), s.label, None, s.index)
        for n, s in splits.items()
    }
    own = {name: 2 * value for name, value in own.items()}
    own["mean"] = own["mean"] - 1
    return Dataset(**vars(dataset) | splits | own)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_noise_has_its_moments_and_depends_on_the_index_alone(dtype):
    dataset = dataset_of(dtype)
    index, given = np.arange(40), dataset.test.input
    gaussian, uniform = (np.asarray(ood.noise(n, dataset)(index, given)) for n in ood.SETS)
    low, high = (0, 255) if dtype == "uint8" else (-1, 1)
    for made in (gaussian, uniform):
        assert (made.dtype, made.shape) == (dtype, given.shape)
        assert low <= made.min() and made.max() <= high
    unit = 255 if dtype == "uint8" else 1
    np.testing.assert_allclose(gaussian.mean((0, 1, 2)) / unit, dataset.mean, atol=0.005)
    np.testing.assert_allclose(gaussian.std((0, 1, 2)) / unit, dataset.std, atol=0.005)
    span = high - low
    np.testing.assert_allclose(uniform.mean(), low + span / 2, atol=0.01 * span)
    np.testing.assert_allclose(uniform.std(), span / np.sqrt(12), rtol=0.01)
    again = np.asarray(ood.noise("noise_uniform", dataset)(index[::-1], 0 * given))
    np.testing.assert_array_equal(again, uniform[::-1])


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ([""], "got '', expected data sets, NAME or NAME@FOLDER, or noise"),
        (["arrays@"], "got 'arrays@', expected"),
        (["noise", "noise"], "got 'noise' twice"),
        (["arrays@/a/x", "arrays@/b/x"], "got 'arrays_x' twice"),
    ],
)
def test_wrong_names_are_refused(names, told):
    with pytest.raises(ValueError, match=f"--ood: {told}"):
        ood.check(names)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(config, workdir, folder of images like those of the run) of a small run on digits."""
    root = tmp_path_factory.mktemp("ood")
    config = helpers.small_config()
    train.train(config, root / "run", progress=False)
    helpers.write_arrays(root / "like", image=images())
    return config, root / "run", root / "like"


def images(*shape, dtype=np.uint8):
    """Makes the function of ``helpers.write_arrays`` that makes images."""
    rng = np.random.default_rng(1)
    return lambda n: rng.integers(0, 256, (n, *(shape or (32, 32, 3)))).astype(dtype)


def test_figures_are_those_of_both_sets_by_hand(run):
    config, workdir, folder = run
    names = [f"arrays@{folder}", "noise"]
    found = trained.evaluate(workdir, config, ood_names=names, examples=30)
    restored = trained.restore(workdir, config)
    predictor, dataset = restored.predictor(), restored.dataset
    test = dataset.test.take(slice(30))
    with np.load(folder / "test.npz") as stored:
        others = {"arrays_like": stored["image"][:30]}
    for name in ood.SETS:
        others[name] = np.asarray(ood.noise(name, dataset)(np.arange(30), test.input))
    for name, image in others.items():
        split = datasets.Split(image, test.label, None, np.arange(30))
        scores = [ood.scores(predictor.logits(x), predictor.scaling) for x in (test, split)]
        assert found[f"ood_{name}_examples"] == 30
        for score in ("confidence", "entropy", "energy", "confidence_ts"):
            auroc, fpr = by_scikit_learn(*(own[score] for own in scores))
            assert found[f"ood_{name}_auroc_{score}"] == pytest.approx(auroc, abs=0.005)
            assert found[f"ood_{name}_fpr95_{score}"] == pytest.approx(fpr, abs=1 / 30 + 1e-6)
            low, high = found[f"ood_{name}_auroc_{score}_interval"]
            assert low <= found[f"ood_{name}_auroc_{score}"] <= high
    assert files.read_json(workdir / "result.json") == found
    table = rendering.ood_table(found)
    assert [line.split()[0] for line in table.splitlines()[2:]] == [n for n in others for _ in "ab"]
    shown = naming.with_interval(found, "ood_arrays_like_auroc_energy", "accuracy")
    assert shown in table


def test_a_later_evaluation_keeps_other_sets_and_replaces_the_same(run):
    config, workdir, _ = run
    first = trained.evaluate(workdir, config, ood_names=["noise"], vector_scaling=True)
    assert "ood_noise_uniform_auroc_confidence_vs" in first
    later = trained.evaluate(workdir, config, ood_names=["noise"], examples=20)
    assert not [n for n in later if n.startswith("ood_noise") and "_vs" in n]
    assert later["ood_noise_uniform_examples"] == 20
    again = trained.evaluate(workdir, config)
    assert {n: v for n, v in again.items() if n.startswith("ood_")} == {
        n: v for n, v in later.items() if n.startswith("ood_")
    }


@pytest.mark.parametrize(
    ("shape", "dtype", "told"),
    [
        ((16, 16, 3), np.uint8, r"has .*\[16, 16, 3\], the run uint8.*\[32, 32, 3\]; nothing is"),
        ((32, 32, 3), np.float32, "has float32 inputs of kind 'image'"),
        ((5,), np.uint8, "has uint8 inputs of kind 'features'"),
    ],
)
def test_data_unlike_the_runs_are_refused_by_name(run, tmp_path, shape, dtype, told):
    config, workdir, _ = run
    helpers.write_arrays(tmp_path / "a", image=images(*shape, dtype=dtype))
    with pytest.raises(ValueError, match=f"--ood: 'arrays@.*a' {told}"):
        trained.evaluate(workdir, config, ood_names=[f"arrays@{tmp_path / 'a'}"])
    with pytest.raises(ValueError, match="--ood: got 'digits', the data set of the run"):
        trained.evaluate(workdir, config, ood_names=["digits"])


def test_tokens_have_no_noise():
    dataset = helpers.make_dataset()
    tokens = datasets.Split(
        np.ones((48, 7), np.int32), dataset.train.label, None, dataset.train.index
    )
    dataset = Dataset(**vars(dataset) | {"train": tokens, "kind": "text"})
    with pytest.raises(ValueError, match="--ood=noise: inputs of kind 'text' have no such noise"):
        ood.noise("noise_uniform", dataset)


def test_calibrators_are_told_apart_by_the_confidence_after_them():
    rng = np.random.default_rng(0)
    clean, other = (
        Outputs(rng.normal(0, s, (80, 4)).astype(np.float32), {}, rng.integers(0, 4, 80))
        for s in (3, 1)
    )
    table = {"temperature": TABLE["temperature"]}
    zeros = np.zeros(80)
    held_out = HeldOut(clean.logits, {}, clean.label, zeros, zeros.astype(np.int32), zeros + 1)
    rows = calibrated.evaluate(
        calibrated.fit(held_out, table), clean, None, table, {"noise_uniform": other}
    )
    confidence = [special.softmax(x.logits, -1).max(-1) for x in (clean, other)]
    expected = by_scikit_learn(*confidence)
    row = rows["none"]
    assert [row["ood_noise_uniform_auroc"], row["ood_noise_uniform_fpr95"]] == pytest.approx(
        expected, abs=1e-6
    )
    assert rows["temperature"]["ood_noise_uniform_auroc"] != row["ood_noise_uniform_auroc"]


def test_command_prints_the_table(run):
    _, workdir, _ = run
    done = helpers.command("-m", "experiments.evaluate", f"--workdir={workdir}", "--ood=noise")
    assert done.returncode == 0, done.stderr
    rows = [line.split()[:2] for line in done.stdout.splitlines() if line.startswith("noise_")]
    assert rows == [[name, metric] for name in ood.SETS for metric in ("AUROC", "FPR@95")]
    wrong = helpers.command("-m", "experiments.evaluate", f"--workdir={workdir}", "--ood=arrays@")
    assert wrong.returncode == 1
    assert wrong.stderr.startswith("error: --ood: got 'arrays@', expected data sets")


def test_columns():
    headers = [name for name in naming.HEADERS if name.startswith(ood.PREFIX)]
    assert len(headers) == 2 * len(naming.SCORES) * len(naming.OTHERS)
    assert naming.shown("ood_cifar100_auroc_energy", 0.634) == "63.40"
