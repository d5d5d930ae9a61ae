"""Figures of hand-written run folders: what a reader sees, and what cannot be drawn."""

import itertools
import json
import re

import figure_checks
import helpers
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import run_folders
from matplotlib.container import BarContainer
from PIL import Image
from scipy import stats

from autolabel_jax import datasets
from experiments.reporting import catalogue, frame, plots, run_files

matplotlib.use("Agg")

SEVERITIES = {"corrupted_ece_by_severity": [0.1, 0.12, 0.15, 0.2, 0.3]}
SEVERITIES |= {"corrupted_ece_ts_by_severity": [0.05, 0.06, 0.07, 0.08, 0.09], "ece_ts": 0.04}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def one(tmp_path, name="run", **changes):
    return run_files.read(run_folders.write(tmp_path / name, **changes))


def curves(axes):
    return {line.get_label(): line for line in axes.lines}


def test_label_confidence_over_epochs(tmp_path):
    lines = [
        run_folders.line(e, label_confidence=[1 - 0.1 * e - 0.01 * n for n in range(6)])
        for e in range(4)
    ]
    settings = {"augment__max_depth": 2, "epochs": 4}
    run = one(tmp_path, rule="autolabel", settings=settings, lines=lines)
    figure = catalogue.label_confidence(run)
    assert figure.get_suptitle() == "digits, mlp-16, augmix, autolabel, seed 0"
    assert [axes.get_title() for axes in figure.axes] == ["chain depth 1", "chain depth 2"]
    assert figure_checks.legend_texts(figure) == [
        "distance 0-.33",
        "distance .33-.67",
        "distance .67-1",
    ]
    for group, axes in enumerate(figure.axes):
        for m, line in enumerate(axes.lines):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
            expected = 1 - 0.1 * np.arange(4) - 0.01 * (3 * group + m)
            np.testing.assert_allclose(line.get_ydata(), expected)
        assert len({line.get_linestyle() for line in axes.lines}) == 3
        assert len({line.get_marker() for line in axes.lines}) == 3


def test_a_null_label_is_a_gap(tmp_path):
    lines = [run_folders.line(0), run_folders.line(1, label_confidence=[None, None, None])]
    run = one(tmp_path, lines=lines)
    drawing = next(catalogue.of_run(run, "run"))
    line = drawing.draw().axes[0].lines[0]
    assert np.isnan(line.get_ydata()[1]) and line.get_ydata()[0] == 1


@pytest.mark.parametrize(
    ("edges", "calibration"), [("equal_width", ""), ("equal_mass", "equal_width")]
)
def test_edges_are_those_of_the_training(tmp_path, edges, calibration):
    changes = {"augment__name": "mixup", "buckets__num": 3, "augment__concentration": 0.5}
    changes |= {"buckets__edges": edges, "buckets__calibration_edges": calibration}
    config = helpers.small_config(**changes)
    (tmp_path / "config.json").write_text(config.to_json())
    expected = helpers.make_experiment(datasets.load(config), **changes).calibration_edges
    np.testing.assert_array_equal(plots.edges(run_files.read(tmp_path)), expected)


def test_buckets_of_distances_in_the_data_are_numbered(tmp_path):
    settings = {"augment__name": "given", "buckets__edges": "equal_mass"}
    run = one(tmp_path, settings=settings)
    figure = catalogue.label_confidence(run)
    assert figure_checks.legend_texts(figure) == [
        "interval 1 of 3",
        "interval 2 of 3",
        "interval 3 of 3",
    ]


def test_buckets_that_do_not_fit_are_refused(tmp_path):
    run = one(tmp_path, settings={"buckets__num": 2})
    with pytest.raises(ValueError, match=r"buckets.num=2 .* holds \[3\] buckets"):
        catalogue.label_confidence(run)


def by_hand(logits, label, num_bins=15):
    """count, accuracy and confidence of each bin (low, high], in a loop."""
    p = np.exp(logits - logits.max(1, keepdims=True)).astype(np.float64)
    p /= p.sum(1, keepdims=True)
    top, right = p.max(1), p.argmax(1) == label
    rows = []
    for r in range(num_bins):
        inside = (top > r / num_bins) & (top <= (r + 1) / num_bins)
        n = inside.sum()
        rows.append((n, right[inside].mean(), top[inside].mean()) if n else (0, np.nan, np.nan))
    return np.array(rows).T


def test_reliability_bars_counts_and_bands(tmp_path):
    run = one(tmp_path)
    run_folders.write_logits(run.workdir, n=1500)
    with np.load(run.workdir / "test_logits.npz") as saved:
        count, accuracy, confidence = by_hand(saved["logits"], saved["label"])
    figure = catalogue.reliability(run)
    diagram, counts = figure.axes
    filled = count > 0
    bars = [c for c in diagram.containers if isinstance(c, BarContainer)]
    heights = [[patch.get_height() for patch in c] for c in bars]
    np.testing.assert_allclose(heights[0], accuracy[filled])
    np.testing.assert_allclose(heights[1], (confidence - accuracy)[filled], atol=1e-6)
    np.testing.assert_array_equal([p.get_height() for p in counts.patches], count)
    written = [t.get_text() for t in counts.texts if t.get_text()]
    assert written == [f"{n:.0f}" for n in count[filled]]
    ece = np.nansum(count * abs(accuracy - confidence)) / 1500
    title = f"digits, mlp-16, augmix, one_hot, seed 0\nECE {100 * ece:.1f} %"
    assert diagram.get_title() == title
    # A binomial bin's 95 % band has a half width near 1.96 standard errors.
    bins = catalogue.reliability_bins(run.workdir)
    large = (count >= 40) & (accuracy < 0.95)
    assert large.any()
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / np.maximum(count, 1))
    np.testing.assert_allclose(((bins.high - bins.low) / 2)[large], half[large], rtol=0.2)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": np.zeros((3, 2))}, "lacks label"),
        ({"logits": np.zeros((3, 2)), "label": np.zeros(4, int)}, r"\(3, 2\) and label \(4,\)"),
    ],
)
def test_logits_that_do_not_fit_are_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "test_logits.npz", **arrays)
    with pytest.raises(ValueError, match=f"{re.escape(str(tmp_path))}.*{message}"):
        catalogue.reliability_bins(tmp_path)


def some_runs(tmp_path, seeds=(0, 1, 2), eces=(0.06, 0.03), settings=None, **extra):
    runs = []
    for rule, ece in zip(("one_hot", "autolabel"), eces, strict=True):
        for seed in seeds:
            given = {"ece": ece + 0.01 * seed, "accuracy": 0.9 + 0.01 * seed, **extra}
            name = f"{rule}_{seed}_{len(list(tmp_path.iterdir()))}"
            runs.append(one(tmp_path, name, rule=rule, seed=seed, settings=settings, **given))
    return runs


def test_accuracy_against_ece_has_a_mark_a_run(tmp_path):
    figure = catalogue.accuracy_against_ece(frame.make(some_runs(tmp_path)))
    (axes,) = figure.axes
    assert axes.get_title() == "digits, mlp-16, augmix\n300 images, 2 epochs, seeds: 3"
    assert figure_checks.legend_texts(figure) == ["one_hot", "autolabel"]
    for rule, ece in (("one_hot", 6), ("autolabel", 3)):
        line = curves(axes)[rule]
        np.testing.assert_allclose(line.get_xdata(), [90, 91, 92])
        np.testing.assert_allclose(line.get_ydata(), [ece, ece + 1, ece + 2])
    assert len({line.get_marker() for line in axes.lines}) == 2
    assert len({line.get_color() for line in axes.lines}) == 2


@pytest.mark.parametrize("accuracy", [0.995, 0.9, 0.05])
def test_its_axes_do_not_exaggerate(tmp_path, accuracy):
    runs = some_runs(tmp_path, eces=(0.01, 0.011), seeds=[0], accuracy=accuracy)
    (axes,) = catalogue.accuracy_against_ece(frame.make(runs)).axes
    assert axes.get_ylim() == (0, 5)
    low, high = axes.get_xlim()
    assert high - low >= 10 - 1e-9 and low < 100 * accuracy < high <= 100


def test_ece_against_severity(tmp_path):
    runs = frame.make(some_runs(tmp_path, **SEVERITIES))
    figure = catalogue.ece_against_severity(runs)
    before, after = figure.axes
    budget = "digits, mlp-16, augmix\n300 images, 2 epochs, seeds: 3\n"
    assert before.get_title() == f"{budget}before temperature scaling"
    assert after.get_title() == f"{budget}after temperature scaling"
    figure.canvas.draw()
    assert before.get_yscale() == after.get_yscale() == "log"
    assert [t.get_text() for t in before.get_xticklabels()] == ["clean", "1", "2", "3", "4", "5"]
    shown = [t.get_text() for t in before.get_yticklabels()]
    assert {"5", "10", "20"} < set(shown) and not {"4", "15"} & set(shown)
    expected = {
        before: {"one_hot": [7, 10, 12, 15, 20, 30], "autolabel": [4, 10, 12, 15, 20, 30]},
        after: dict.fromkeys(("one_hot", "autolabel"), [4, 5, 6, 7, 8, 9]),
    }
    for axes, by_rule in expected.items():
        means = {c.get_label(): c.lines[0].get_ydata() for c in axes.containers}
        assert means.keys() == by_rule.keys()
        for rule, values in by_rule.items():
            np.testing.assert_allclose(means[rule], values)
    bars = before.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(np.ptp(bars[0][:, 1]), 2 * np.std([6, 7, 8], ddof=1))
    colors = [[c.lines[0].get_color() for c in axes.containers] for axes in figure.axes]
    assert colors[0] == colors[1] and len(set(colors[0])) == 2


def test_no_severities_no_figure(tmp_path):
    drawings = catalogue.of_runs(frame.make(some_runs(tmp_path)))
    assert [d.name for d in drawings] == ["accuracy_against_ece", "differences"]
    (alone,) = catalogue.of_runs(frame.make(some_runs(tmp_path, seeds=[0])[:1]))
    assert alone.name == "accuracy_against_ece"


def test_differences_are_those_of_the_table_with_scipys_intervals(tmp_path):
    rng = np.random.default_rng(0)
    nll, scaled = rng.uniform(0.3, 0.4, (2, 2, 3))
    for i, augmentation in enumerate(("augmix", "mixup")):
        for rule, seed in itertools.product(("one_hot", "autolabel"), range(3)):
            given = {"nll": nll[i, seed], "nll_ts": scaled[i, seed]}
            settings = {"augment__name": augmentation}
            name = f"{augmentation}_{rule}_{seed}"
            one(tmp_path, name, rule=rule, seed=seed, settings=settings, **given)
    runs, _ = frame.load([str(tmp_path)])
    figure = catalogue.differences(runs)
    ece, axes = figure.axes
    assert [place.get_xlabel() for place in figure.axes] == ["ECE %", "NLL"]
    names = [text.get_text() for text in ece.get_yticklabels()]
    assert names == [f"digits, mlp-16, {m}\n300 images, autolabel" for m in ("augmix", "mixup")]
    assert figure_checks.legend_texts(figure) == ["one_hot (TS)"]
    ((bars,),) = [container.lines[2] for container in axes.containers]
    for row, ((low, high), at) in enumerate((s[:, 0], s[:, 1]) for s in bars.get_segments()):
        expected = stats.ttest_rel(nll[row], scaled[row]).confidence_interval(0.95)
        np.testing.assert_allclose([low, high], expected)
        assert at[0] == pytest.approx(row - 0.15)
    figure_checks.assert_readable(figure)


def test_without_a_baseline_there_are_no_differences(tmp_path):
    drawings = catalogue.of_runs(frame.make(some_runs(tmp_path)[3:]))
    assert [d.name for d in drawings] == ["accuracy_against_ece"]


def shown(figure):
    """Pictures of a grid [rows, columns, ...]."""
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    pictures = np.stack([axes.images[0].get_array().data for axes in figure.axes])
    return pictures.reshape(grid.nrows, grid.ncols, *pictures.shape[1:])


def test_sample_images_of_mixup_are_mixtures(tmp_path):
    """Each is clean plus a share γ of the way to another digit, γ inside the bucket."""
    config = helpers.small_config(augment__name="mixup", buckets__num=2)
    (tmp_path / "config.json").write_text(config.to_json())
    pictures = shown(catalogue.bucket_images(run_files.read(tmp_path)))
    assert pictures.shape[:2] == (2, 3)
    others = datasets.load(config).calibration.input[:16] / 255
    for row in range(2):
        clean = pictures[row, 0].astype(np.float64)
        np.testing.assert_allclose(clean, others[row], atol=1e-6)
        for column, low in ((1, 0.0), (2, 0.25)):
            moved = pictures[row, column] - clean
            errors, shares = [], []
            for other in np.delete(others, row, axis=0):
                way = (other - clean).ravel()
                share = moved.ravel() @ way / (way @ way)
                shares.append(share)
                errors.append(abs(moved.ravel() - share * way).max())
            best = int(np.argmin(errors))
            assert errors[best] < 1e-5
            assert low < shares[best] <= low + 0.25 + 1e-6


def test_sample_images_are_of_a_run_that_learns_in_each_block(tmp_path):
    for method, rule in itertools.product(("augmix", "none"), ("one_hot", "autolabel")):
        settings = {"augment__name": method}
        run_folders.write(tmp_path / method / rule, rule=rule, settings=settings)
    settings = {"augment__name": "augmix", "labels__alpha": 2.0}
    run_folders.write(tmp_path / "augmix" / "other", rule="autolabel", settings=settings)
    runs, _ = frame.load([str(tmp_path)])
    names = [drawing.name for drawing in catalogue.of_images(runs)]
    assert names == ["bucket_images_augmix_autolabel"]
    assert list(catalogue.of_images(frame.make([]))) == []


@pytest.mark.parametrize("name", ["adversarial", "given"])
def test_sample_images_that_cannot_be(tmp_path, name):
    run = one(tmp_path, settings={"augment__name": name})
    with pytest.raises(ValueError, match=f"augment.name: '{name}' cannot move images alone"):
        catalogue.bucket_images(run)


def test_label_confidence_is_below_the_sample_images(tmp_path):
    config = helpers.small_config(augment__name="augmix", buckets__num=2, augment__max_depth=2)
    (tmp_path / "config.json").write_text(config.to_json())
    line = run_folders.line(0, label_confidence=[1, 0.95, None, 0.6155])
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line))
    figure = catalogue.bucket_images(run_files.read(tmp_path))
    assert figure.get_suptitle() == "digits, mlp-8, augmix, autolabel, seed 0, after epoch 1"
    axes = np.reshape(figure.axes, (4, 3))
    titles = ["clean", "distance\n0-.5", "distance\n.5-1"]
    assert [place.get_title() for place in axes[0]] == titles
    for row, expected in ((1, ["1", ".95"]), (3, ["none", ".616"])):
        shown = [place.get_xlabel() for place in axes[row]]
        assert shown == ["label\nconfidence:", *expected]
    assert [axes[row, 0].get_ylabel() for row in (0, 2)] == ["chain depth 1", "chain depth 2"]
    figure_checks.assert_readable(figure)


@pytest.mark.parametrize("num_rules", [pytest.param(1, marks=pytest.mark.slow), 12])
def test_all_figures_are_readable(tmp_path, num_rules):
    runs = [
        one(tmp_path, f"{width}_{rho}", rule="ccat", **SEVERITIES, settings=settings)
        for width in (16, 100)
        for rho in range(num_rules)
        for settings in [{"labels__rho": float(rho), "model__width": width}]
    ]
    run_folders.write_logits(runs[0].workdir)
    own = frame.make(runs + some_runs(tmp_path, **SEVERITIES))
    drawings = [*catalogue.of_runs(own), *catalogue.of_run(runs[0], "run")]
    assert len(drawings) == 5
    for drawing in drawings:
        figure_checks.assert_readable(drawing.draw())
        assert drawing.alt and drawing.title


def test_colours_are_okabe_and_itos():
    # Wong, "Points of view: Color blindness", Nature Methods 8, 441 (2011), lists them in RGB.
    rgb = [(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)]
    rgb += [(0, 114, 178), (213, 94, 0), (204, 121, 167)]
    known = {"#{:02X}{:02X}{:02X}".format(*color) for color in rgb}
    assert set(plots.COLORS) < known and len(set(plots.COLORS)) == 7


def test_saved_figures_are_the_same_in_every_byte_and_closed(tmp_path):
    run = one(tmp_path)
    for name in ("a", "b"):
        path = plots.save(catalogue.label_confidence(run), tmp_path / "out", name, plots.FORMATS)
        assert path == tmp_path / "out" / name
    for form in plots.FORMATS:
        one_file, other = (tmp_path / "out" / f"{name}.{form}" for name in ("a", "b"))
        assert one_file.read_bytes() == other.read_bytes()
    with Image.open(tmp_path / "out" / "a.png") as picture:
        assert picture.width == round(160 * 0.6 * 8)
        assert len(picture.convert("RGB").getcolors(2**24)) > 50
    assert plt.get_fignums() == []


def test_the_command_draws_what_can_be_drawn(tmp_path):
    good = run_folders.write(tmp_path / "runs" / "good")
    run_folders.write_logits(good)
    run_folders.write(tmp_path / "runs" / "begun", seed=1, finished=False, lines=[])
    np.savez(tmp_path / "runs" / "begun" / "test_logits.npz", logits=np.zeros((2, 2)))
    out = tmp_path / "figures"
    done = helpers.command(
        *("-m", "experiments.figures", tmp_path / "runs", f"--out={out}"),
        *("--format=png,pdf,svg", "--noimages"),
    )
    assert done.returncode == 0, done.stderr
    names = {"accuracy_against_ece", "reliability_good"}
    names |= {"label_confidence_good"}
    files = {f"{name}.{form}" for name in names for form in ("png", "pdf", "svg")}
    assert {path.name for path in out.iterdir()} == files
    assert (out / "reliability_good.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (out / "reliability_good.svg").read_text()
    assert f"{tmp_path / 'runs' / 'begun'}: not finished: no result.json" in done.stderr
    assert "not drawn: reliability_begun: " in done.stderr and "lacks label" in done.stderr
