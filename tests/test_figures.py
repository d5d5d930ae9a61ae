"""Figures of hand-written run folders: what is drawn where, and what cannot be."""

import re

import helpers
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import run_folders
from matplotlib.container import BarContainer
from matplotlib.text import Text
from PIL import Image

from autolabel_jax import checkpoint, datasets
from experiments.reporting import bucket_images, catalogue, cells, plots, reliability, run_files

matplotlib.use("Agg")


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
    figure = plots.label_confidence(run)
    assert [axes.get_title() for axes in figure.axes] == ["chain depth 1", "chain depth 2"]
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
    drawing = catalogue.of_run(run, "run")[0]
    line = drawing.draw().axes[0].lines[0]
    assert np.isnan(line.get_ydata()[1]) and line.get_ydata()[0] == 1


@pytest.mark.parametrize(
    ("edges", "calibration", "places", "name"),
    [
        ("equal_width", "", [1 / 6, 1 / 2, 5 / 6], "distance"),
        ("kmeans", "equal_width", [1 / 6, 1 / 2, 5 / 6], "distance"),
        ("equal_width", "kmeans", [1, 2, 3], "interval of the distance (kmeans)"),
        ("equal_mass", "", [1, 2, 3], "interval of the distance (equal_mass)"),
    ],
)
def test_buckets_against_distance(tmp_path, edges, calibration, places, name):
    settings = {"buckets__edges": edges, "buckets__calibration_edges": calibration}
    (axes,) = plots.bucket_distance(one(tmp_path, settings=settings)).axes
    assert axes.get_xlabel() == name
    expected = {
        "accuracy": [0.9, 0.85, 0.7],
        "confidence": [0.95, 0.9, 0.8],
        "label confidence": [1.0, 0.95, 0.8],
    }
    for label, values in expected.items():
        np.testing.assert_allclose(curves(axes)[label].get_xdata(), places)
        np.testing.assert_allclose(curves(axes)[label].get_ydata(), values)


def test_buckets_that_do_not_fit_are_refused(tmp_path):
    run = one(tmp_path, settings={"buckets__num": 2})
    with pytest.raises(ValueError, match=r"buckets.num=2 .* holds \[3\] buckets"):
        plots.label_confidence(run)


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
    figure = plots.reliability_diagram(run)
    diagram, counts = figure.axes
    filled = count > 0
    bars = [c for c in diagram.containers if isinstance(c, BarContainer)]
    heights = [[patch.get_height() for patch in c] for c in bars]
    np.testing.assert_allclose(heights[0], accuracy[filled])
    np.testing.assert_allclose(heights[1], (confidence - accuracy)[filled], atol=1e-6)
    np.testing.assert_array_equal([p.get_height() for p in counts.patches], count)
    assert [t.get_text() for t in counts.texts] == [f"{n:.0f}" for n in count[filled]]
    ece = np.nansum(count * abs(accuracy - confidence)) / 1500
    assert diagram.get_title() == f"run: ECE {100 * ece:.1f} %"
    # A binomial bin's 95 % band has a half width near 1.96 standard errors.
    bins = reliability.from_file(run.workdir)
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
        reliability.from_file(tmp_path)


def some_blocks(tmp_path, **extra):
    runs = []
    for rule, ece in (("one_hot", 0.06), ("autolabel", 0.03)):
        for seed in (0, 1, 2):
            given = {"ece": ece + 0.01 * seed, "accuracy": 0.9 + 0.01 * seed, **extra}
            runs.append(one(tmp_path, f"{rule}_{seed}", rule=rule, seed=seed, **given))
    return cells.make(runs)


def test_accuracy_against_ece_has_a_mark_a_run(tmp_path):
    figure = plots.accuracy_against_ece(some_blocks(tmp_path))
    (axes,) = figure.axes
    for rule, ece in (("one_hot", 6), ("autolabel", 3)):
        line = curves(axes)[f"augmix, {rule}"]
        np.testing.assert_allclose(line.get_xdata(), [90, 91, 92])
        np.testing.assert_allclose(line.get_ydata(), [ece, ece + 1, ece + 2])
    assert len({line.get_marker() for line in axes.lines}) == 2
    assert len({line.get_color() for line in axes.lines}) == 2


def test_ece_against_severity(tmp_path):
    blocks = some_blocks(tmp_path, corrupted_ece_by_severity=[0.1, 0.12, 0.15, 0.2, 0.3])
    (axes,) = plots.ece_against_severity(blocks).axes
    means = {c.get_label(): c.lines[0].get_ydata() for c in axes.containers}
    np.testing.assert_allclose(means["one_hot (n=3)"], [7, 10, 12, 15, 20, 30])
    np.testing.assert_allclose(means["autolabel (n=3)"], [4, 10, 12, 15, 20, 30])
    bars = axes.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose(np.ptp(bars[0][:, 1]), 2 * np.std([6, 7, 8], ddof=1))


def test_ece_against_severity_before_and_after_temperature_scaling(tmp_path):
    given = {"corrupted_ece_ts_by_severity": [0.05, 0.06, 0.07, 0.08, 0.09], "ece_ts": 0.04}
    before = {"corrupted_ece_by_severity": [0.1, 0.12, 0.15, 0.2, 0.3]}
    (axes,) = plots.ece_against_severity(some_blocks(tmp_path, **before, **given)).axes
    lines = {c.get_label(): c.lines[0] for c in axes.containers}
    after = lines["one_hot (TS) (n=3)"]
    np.testing.assert_allclose(after.get_ydata(), [4, 5, 6, 7, 8, 9])
    plain = lines["one_hot (n=3)"]
    np.testing.assert_allclose(plain.get_ydata(), [7, 10, 12, 15, 20, 30])
    assert (plain.get_linestyle(), after.get_linestyle()) == ("-", "--")
    assert (plain.get_fillstyle(), after.get_fillstyle()) == ("full", "none")
    assert plain.get_color() == after.get_color()


def test_no_severities_no_figure(tmp_path):
    runs = [run for block in some_blocks(tmp_path) for cell in block for run in cell.runs]
    assert [d.name for d in catalogue.of_runs(runs)] == ["accuracy_against_ece"]


def shown(figure):
    """Pictures of a grid [rows, columns, ...]."""
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    pictures = np.stack([axes.images[0].get_array().data for axes in figure.axes])
    return pictures.reshape(grid.nrows, grid.ncols, *pictures.shape[1:])


def test_sample_images_of_mixup_are_mixtures(tmp_path):
    """Each is clean plus a share γ of the way to another digit, γ inside the bucket."""
    config = helpers.small_config(augment__name="mixup", buckets__num=2)
    (tmp_path / "config.json").write_text(config.to_json())
    pictures = shown(bucket_images.draw(run_files.read(tmp_path)))
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


def test_sample_images_of_an_adversary_are_inside_its_balls(tmp_path):
    changes = {"augment__max_epsilon": 0.2, "augment__num_steps": 1, "augment__step_ratio": 0.25}
    config = helpers.small_config(augment__name="adversarial", buckets__num=2, **changes)
    (tmp_path / "config.json").write_text(config.to_json())
    run = run_files.read(tmp_path)
    assert "no checkpoint" in bucket_images.why_not(run)
    experiment, _, snapshot = helpers.saved_experiment(config)
    with checkpoint.Checkpoints(tmp_path / "checkpoints", keep=1) as saved:
        saved.save(snapshot, experiment.steps_per_epoch)
    assert bucket_images.why_not(run) is None
    pictures = shown(bucket_images.draw(run))
    moved = abs(pictures[:, 1:] - pictures[:, :1]).max(axis=(2, 3, 4))
    assert (moved[:, 0] > 0).all() and (moved[:, 0] <= 0.1 + 1e-6).all()
    assert (moved[:, 1] > moved[:, 0]).all() and (moved[:, 1] <= 0.2 + 1e-6).all()


def test_sample_images_that_came_with_distances(tmp_path):
    """Grey level tells the distance; there is no clean twin, and no image in the last bucket."""
    distance = np.linspace(0, 0.6, 64).astype(np.float32)
    folder = helpers.write_arrays(
        tmp_path,
        sizes={"train": 64, "test": 64},
        image=lambda n: np.broadcast_to(distance[:, None, None, None], (n, 8, 8, 1)),
        distance=lambda n: distance,
    )
    changes = {"dataset": "arrays", "augment__name": "given", "buckets__num": 3, "data_dir": "gone"}
    (tmp_path / "config.json").write_text(helpers.small_config(**changes).to_json())
    figure = bucket_images.draw(run_files.read(tmp_path), folder)
    levels = [axes.images[0].get_array().mean() if axes.images else None for axes in figure.axes]
    first, second = levels[:4], levels[4:]
    assert first[0] is second[0] is first[3] is second[3] is None
    assert 0 <= first[1] < second[1] <= 1 / 3 < first[2] < second[2] <= 2 / 3


def test_sample_images_that_cannot_be(tmp_path):
    names = {"none": "moves no image", "adversarial": "no checkpoint"}
    for name, reason in names.items():
        run = one(tmp_path, name, settings={"augment__name": name})
        assert reason in bucket_images.why_not(run)
    assert catalogue.of_buckets([run], {run.workdir: "a"}) == []


def test_runs_that_differ_in_labels_share_their_sample_images(tmp_path):
    runs = [
        one(tmp_path, rule, rule=rule, seed=i) for i, rule in enumerate(("one_hot", "smoothing"))
    ]
    runs.append(one(tmp_path, "wide", settings={"buckets__num": 1}))
    assert len(catalogue.of_buckets(runs, catalogue.run_names(runs))) == 2


def test_no_text_is_smaller_than_seven_points(tmp_path):
    blocks = some_blocks(tmp_path, corrupted_ece_by_severity=[0.1, 0.12, 0.15, 0.2, 0.3])
    run = blocks[0][0].runs[0]
    run_folders.write_logits(run.workdir)
    runs = [run for cell in blocks[0] for run in cell.runs]
    drawings = catalogue.of_runs(runs) + catalogue.of_run(run, "run")
    assert len(drawings) == 5
    for drawing in drawings:
        figure = drawing.draw()
        figure.canvas.draw()
        sizes = [t.get_fontsize() for t in figure.findobj(Text) if t.get_text()]
        assert min(sizes) >= 7, drawing.name
        assert drawing.alt and drawing.title


def test_colours_are_okabe_and_itos():
    # Wong, "Points of view: Color blindness", Nature Methods 8, 441 (2011), lists them in RGB.
    rgb = [(0, 0, 0), (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66)]
    rgb += [(0, 114, 178), (213, 94, 0), (204, 121, 167)]
    known = {"#{:02X}{:02X}{:02X}".format(*color) for color in rgb}
    assert set(plots.COLORS) < known and len(set(plots.COLORS)) == 7


def test_the_quickstart_figure(tmp_path):
    workdirs = {}
    for rule in ("one_hot", "autolabel"):
        workdirs[rule] = run_folders.write(tmp_path / rule, rule=rule)
        run_folders.write_logits(workdirs[rule])
    plots.quickstart(workdirs, tmp_path / "quickstart.png")
    with Image.open(tmp_path / "quickstart.png") as picture:
        assert picture.width > 800
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
    names |= {"label_confidence_good", "bucket_distance_good"}
    files = {f"{name}.{form}" for name in names for form in ("png", "pdf", "svg")}
    assert {path.name for path in out.iterdir()} == files
    assert (out / "reliability_good.pdf").read_bytes().startswith(b"%PDF")
    assert "<svg" in (out / "reliability_good.svg").read_text()
    assert f"{tmp_path / 'runs' / 'begun'}: not finished: no result.json" in done.stderr
    assert "not drawn: reliability_begun: " in done.stderr and "lacks label" in done.stderr
