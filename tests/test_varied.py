"""Figures of what a setting moves, from run folders written by hand."""

import figure_checks
import helpers
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import run_folders

from experiments.reporting import catalogue, frame, run_files, varied

matplotlib.use("Agg")

ECE = {0.01: [0.06, 0.08], 0.1: [0.03, 0.05], 1.0: [0.02, 0.02]}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def write(tmp_path, rule, seed, *, name="", **given):
    settings = given.pop("settings", {})
    text = "_".join([rule, name, *map(str, settings.values()), str(seed)])
    return run_folders.write(tmp_path / text, rule=rule, seed=seed, settings=settings, **given)


def write_alphas(tmp_path, settings=None, **given):
    for alpha, eces in ECE.items():
        settings = (settings or {}) | {"labels__alpha": alpha}
        for seed, ece in enumerate(eces):
            write(tmp_path, "autolabel", seed, settings=settings, ece=ece, **given)


def study(tmp_path, field="labels.alpha"):
    return varied.select(frame.make(run_files.load([str(tmp_path)])), field)


def draw(tmp_path, field="labels.alpha"):
    return varied.draw(study(tmp_path, field)[0], field)


def panels(figure):
    """Label of the y axis → panel."""
    return {axes.get_ylabel(): axes for axes in figure.axes if axes.get_ylabel()}


def named(axes):
    return {line.get_label(): line for line in axes.lines if line.get_label()[0] != "_"}


def test_means_deviations_and_seeds_against_the_setting(tmp_path):
    write_alphas(tmp_path)
    axes = panels(draw(tmp_path))["ECE %"]
    curve = named(axes)["autolabel"]
    np.testing.assert_allclose(curve.get_xdata(orig=False), [0, 1, 2])
    np.testing.assert_allclose(curve.get_ydata(orig=False), [7, 4, 2])
    (bars,) = axes.containers
    lengths = [np.ptp(segment[:, 1]) for segment in bars.lines[2][0].get_segments()]
    # The sample standard deviation of two is their gap over the root of two.
    np.testing.assert_allclose(lengths, 2 * np.array([2, 2, 0]) / np.sqrt(2), atol=1e-12)
    (seeds,) = (line for line in axes.lines if line.get_alpha())
    np.testing.assert_allclose(seeds.get_ydata(orig=False), [6, 8, 3, 5, 2, 2])
    np.testing.assert_allclose(seeds.get_xdata(orig=False), np.repeat([0, 1, 2], 2) + 0.08)
    assert axes.get_xlabel() == "labels.alpha" and axes.get_ylim()[0] == 0
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.01", "0.1", "1"]


def test_the_learned_label_is_of_the_last_fifth_of_the_epochs(tmp_path):
    for alpha in (0.1, 0.2):
        lines = [run_folders.line(e, label_confidence=[alpha, None, 0.5]) for e in range(10)]
        lines[7]["label_confidence"] = [9.0, 9.0, 9.0]  # the last fifth of ten is two
        lines[8]["label_confidence"] = [0.9, 0.7, 0.5]
        settings = {"labels__alpha": alpha, "epochs": 10}
        write(tmp_path, "autolabel", 0, settings=settings, lines=lines)
    write(tmp_path, "one_hot", 0, settings={"epochs": 10}, lines=lines)
    (axes,) = (a for name, a in panels(draw(tmp_path)).items() if "lab" in name)
    expected = [(0.9 + 0.7 + 0.5 + alpha + 0.5) / 5 for alpha in (0.1, 0.2)]
    np.testing.assert_allclose(named(axes)["autolabel"].get_ydata(orig=False), expected)
    assert len(named(axes)) == 1


def test_references_before_and_after_temperature_scaling(tmp_path):
    write_alphas(tmp_path)
    for seed, ece in enumerate([0.1, 0.12, 0.14]):
        write(tmp_path, "one_hot", seed, ece=ece, ece_ts=ece / 2)
        write(tmp_path, "smoothing", seed, ece=0.2, ece_ts=0.1)
    write(tmp_path, "one_hot", 0, settings={"epochs": 1}, ece=0.9)  # of another budget
    drawn = panels(draw(tmp_path))
    axes = drawn["ECE %"]
    levels = {name: line.get_ydata(orig=False)[0] for name, line in named(axes).items()}
    assert levels.pop("autolabel") == pytest.approx(7)
    expected = {"one_hot": 12, "one_hot (TS)": 6}
    expected |= {"smoothing 0.1": 20, "smoothing 0.1 (TS)": 10}
    assert levels == pytest.approx(expected)
    bands = [band.get_datalim(axes.transData) for band in axes.collections[1:]]
    np.testing.assert_allclose([bands[0].y0, bands[0].height], [12 - 2, 2 * 2])
    assert all(tuple(band.intervalx) == axes.get_xlim() for band in bands)
    assert not [name for name in named(drawn["accuracy %"]) if "TS" in name]
    assert len({line.get_color() for line in named(axes).values()}) == 5


def test_corrupted_figures_where_runs_have_them(tmp_path):
    write_alphas(tmp_path / "a")
    assert "corrupted ECE %" not in panels(draw(tmp_path / "a"))
    write_alphas(tmp_path / "b", corrupted_ece=0.3)
    write(tmp_path / "b", "autolabel", 0, settings={"labels__alpha": 10.0})
    axes = panels(draw(tmp_path / "b"))["corrupted ECE %"]
    (line,) = named(axes).values()
    np.testing.assert_allclose(line.get_xdata(orig=False), [0, 1, 2])
    np.testing.assert_allclose(line.get_ydata(orig=False), 30)
    assert axes.get_title() == "6 of 7 runs"


def test_another_setting_that_differs_makes_another_curve(tmp_path):
    write_alphas(tmp_path)
    for alpha in (0.01, 1.0):
        settings = {"labels__alpha": alpha, "labels__step": "signed_gap"}
        write(tmp_path, "autolabel", 0, settings=settings, ece=alpha)
    write(tmp_path, "autolabel", 0, settings={"buckets__num": 1})
    drawn, alone = study(tmp_path)
    assert [run.config["buckets.num"] for run in alone["record"]] == [1]
    axes = panels(varied.draw(drawn, "labels.alpha"))["ECE %"]
    curves = named(axes)
    assert list(curves) == ["labels.step=ece", "labels.step=signed_gap"]
    second = curves["labels.step=signed_gap"]
    np.testing.assert_allclose(second.get_ydata(orig=False), [1, 100])
    assert len({(c.get_color(), c.get_marker(), c.get_linestyle()) for c in curves.values()}) == 2
    first = curves["labels.step=ece"]  # moved aside, so that neither hides the other
    np.testing.assert_allclose(
        second.get_xdata(orig=False) - first.get_xdata(orig=False)[[0, 2]], 0.16
    )


def test_curves_are_in_the_order_of_their_numbers(tmp_path):
    for num in (10, 2):
        for alpha in (0.1, 1.0):
            settings = {"labels__alpha": alpha, "buckets__num": num}
            write(tmp_path, "autolabel", 0, settings=settings)
    drawn, _ = study(tmp_path)
    assert list(dict.fromkeys(drawn["curve"])) == ["buckets.num=2", "buckets.num=10"]


def test_runs_that_cannot_be_compared_are_apart(tmp_path):
    write_alphas(tmp_path)
    write_alphas(tmp_path, name="long", settings={"epochs": 1})
    write(tmp_path, "one_hot", 0, settings={"epochs": 1})
    drawn, _ = study(tmp_path)
    references = drawn.groupby("panel", sort=False)["is_reference"].sum()
    assert references.to_dict() == {"epochs=1": 1, "epochs=2": 0}
    titles = [part.get_suptitle() for part in draw(tmp_path).subfigs]
    assert titles == [
        f"digits, mlp-16, augmix, 300 images, {n} epochs, seeds: {seeds}, epochs={n}"
        for n, seeds in ((1, "1 to 2"), (2, 2))
    ]


@pytest.mark.parametrize(
    ("field", "values", "ticks"),
    [
        ("labels.step", ("signed_gap", "ece"), ["ece", "signed_gap"]),
        ("calibration.images", (0, 100, 30), ["30", "100", "all"]),  # 0 is all of them
    ],
)
def test_values_are_in_order_and_evenly_spaced(tmp_path, field, values, ticks):
    for value in values:
        settings = {field.replace(".", "__"): value}
        given = {"calibration_examples": value or 150} if value in (0, 100, 30) else {}
        write(tmp_path, "autolabel", 0, settings=settings, **given)
    axes = panels(draw(tmp_path, field))["ECE %"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ticks
    at = named(axes)["autolabel"].get_xdata(orig=False)
    np.testing.assert_array_equal(at, range(len(ticks)))


def test_a_reference_that_reads_the_setting_is_a_curve(tmp_path):
    """The sizes of the splits, which follow from the fraction, tell no runs apart."""
    for fraction in (0.2, 0.5):
        given = {"settings": {"calibration__fraction": fraction}, "train_examples": 300 * fraction}
        write(tmp_path, "autolabel", 0, ece=fraction, **given)
        write(tmp_path, "one_hot", 0, ece=fraction / 2, **given)
    axes = panels(draw(tmp_path, "calibration.fraction"))["ECE %"]
    line = named(axes)["one_hot"]
    np.testing.assert_allclose(line.get_xdata(orig=False), [0, 1])
    np.testing.assert_allclose(line.get_ydata(orig=False), [10, 25])


def test_a_reference_of_one_value_says_which(tmp_path):
    for fraction in (0.2, 0.5):
        write(tmp_path, "autolabel", 0, settings={"calibration__fraction": fraction})
    write(tmp_path, "one_hot", 0, settings={"calibration__fraction": 0.2})
    axes = panels(draw(tmp_path, "calibration.fraction"))["ECE %"]
    assert "one_hot, calibration.fraction=0.2" in named(axes)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("labels.alhpa", "labels.alhpa: no two .* in it alone; what varies: labels.alpha$"),
        ("labels.smoothing", "labels.smoothing: no two .* what varies: labels.alpha$"),
        ("seed", "seed: no two .* what varies: labels.alpha$"),
        ("buckets.num", "buckets.num: no two .* what varies: labels.alpha$"),
    ],
)
def test_fields_that_cannot_be_drawn(tmp_path, field, message):
    write_alphas(tmp_path)
    write(tmp_path, "one_hot", 0)
    with pytest.raises(ValueError, match=message):
        study(tmp_path, field)


def test_runs_that_cannot_be_drawn(tmp_path):
    with pytest.raises(ValueError, match="no AutoLabel run"):
        varied.select(frame.make([]), "labels.alpha")
    write(tmp_path, "one_hot", 0)
    with pytest.raises(ValueError, match="no AutoLabel run; .* labels.rule=autolabel"):
        study(tmp_path)
    for num, alpha in ((1, 0.1), (2, 0.2)):
        settings = {"labels__alpha": alpha, "buckets__num": num}
        write(tmp_path, "autolabel", 0, settings=settings)
    with pytest.raises(
        ValueError, match="differ in it alone; what varies: buckets.num, labels.alpha$"
    ):
        study(tmp_path)


def test_studied_settings_are_in_the_catalogue(tmp_path):
    write_alphas(tmp_path)
    write(tmp_path, "autolabel", 0, settings={"labels__alpha": 0.1, "labels__step": "signed_gap"})
    runs, _ = frame.load([str(tmp_path)])
    drawings = {drawing.name: drawing for drawing in catalogue.of_runs(runs)}
    assert list(drawings) == ["accuracy_against_ece", "vary_labels.alpha", "vary_labels.step"]
    assert "AutoLabel against labels.alpha" in drawings["vary_labels.alpha"].alt


@pytest.mark.parametrize("num_values", [2, 14])
def test_all_is_readable(tmp_path, num_values):
    for alpha in range(num_values):
        for step in ("ece", "signed_gap"):
            settings = {"labels__alpha": 0.0123 * (1 + alpha), "labels__step": step}
            write(tmp_path, "autolabel", 0, settings=settings, corrupted_ece=0.3)
    write(tmp_path, "one_hot", 0)
    write(tmp_path, "smoothing", 0)
    figure = draw(tmp_path)
    figure_checks.assert_readable(figure)
    rotations = {t.get_rotation() for t in figure.axes[0].get_xticklabels()}
    assert rotations == {0 if num_values == 2 else 90}


def test_the_command_draws_what_is_asked_for(tmp_path):
    write_alphas(tmp_path / "runs")
    out = tmp_path / "figures"
    command = ("-m", "experiments.figures", tmp_path / "runs", f"--out={out}", "--format=png,svg")
    done = helpers.command(*command, "--vary=labels.alpha")
    assert done.returncode == 0, done.stderr
    files = {path.name for path in out.iterdir()}
    assert files == {"vary_labels.alpha.png", "vary_labels.alpha.svg"}
    done = helpers.command(*command, "--vary=buckets.num")
    assert done.returncode == 1 and "--vary=buckets.num: no two AutoLabel runs" in done.stderr
