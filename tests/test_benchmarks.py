"""Each benchmark runs, in a size of seconds, and prints its table; what they count is right."""

import functools
import importlib
import itertools
import json
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from autolabel_jax import files, run_dir
from autolabel_jax.datasets import StreamedSplit
from benchmarks import (
    augmentation_peers,
    augmentations,
    calibration,
    evaluation,
    features,
    harness,
    input_pipeline,
    label_cost,
    start,
    streaming,
    train_step,
    train_step_jax,
    visits,
)
from tests import helpers

pytestmark = pytest.mark.slow  # a benchmark is no part of the library


@pytest.fixture(autouse=True)
def on_the_cpu(monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # the programs set it, which is undone


def cells(printed: str) -> list[list[str]]:
    """Rows of all Markdown tables in what a program printed."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_augmentations_print_a_row_for_every_peer(capsys):
    augmentations.main(["--tiny", "--repeats=1"])
    # The first of the rows with one name: ours in the table of RandAugment.
    rows = {row[0]: row for row in reversed(cells(capsys.readouterr().out))}
    for peer in (*augmentations.OURS, *augmentation_peers.PEERS):
        assert rows[peer.name][3] == peer.own
    for name in ("autolabel_jax", "PIL reference"):  # what needs nothing else
        assert float(rows[name][2].replace(",", "")) > 0
        assert float(rows[name][4]) > 0


def test_calibration_prints_pass_and_floor(capsys):
    calibration.main(["--tiny", "--repeats=1", "--augment=mixup"])
    passed, visited, steps = (r for r in cells(capsys.readouterr().out) if r[0] == "mixup")
    assert passed[1:3] == ["64", "2"]
    assert all(float(cell.split()[0]) >= 0 for cell in passed[3:])
    assert visited[1:4] == ["64", "2", "64"]  # of 128 in the pass
    seconds = float(visited[4])
    epoch = 36 * float(steps[1]) / 1e3 + seconds  # of 9 · 64 images in batches of 16
    assert float(visited[5].split()[0]) == pytest.approx(100 * seconds / epoch, rel=0.1)
    autolabel, one_hot, difference = map(float, steps[1:4])
    # Milliseconds are printed to four digits.
    assert difference == pytest.approx(1e3 * (autolabel - one_hot), abs=autolabel)


def test_calibration_measures_each_setting_once():
    given = ["--device=gpu", "--images=2000"]
    arguments = calibration.parse(given)
    assert calibration.passes(arguments)[-1] == ("adversarial", 10, 1000)
    of_augmix = [("augmix", buckets, images) for images, buckets in calibration.growth(arguments)]
    assert calibration.passes(arguments)[0] in of_augmix  # the same line of the file
    assert {images % arguments.eval_batch_size for _, _, images in of_augmix} == {0}


def test_steps_in_turns_differ_by_what_one_of_them_adds():
    def busy(seconds):
        def call():
            ends = time.process_time() + seconds
            while time.process_time() < ends:
                pass

        return call

    arguments = calibration.parse(["--turns=9", "--steps=2"])
    seconds = label_cost.in_turns({"autolabel": busy(0.03), "one_hot": busy(0.02)}, arguments)
    low, high = seconds["cpu"]["difference"]
    assert low <= high
    np.testing.assert_allclose([low, high], 0.005, atol=0.003)
    np.testing.assert_allclose(seconds["cpu"]["autolabel"], 0.015, atol=0.003)


def test_streaming_compares_training_from_files_with_the_device(capsys, tmp_path):
    streaming.main(["--tiny", "--augment=none", f"--out={tmp_path / 'lines.jsonl'}"])
    host, training = (json.loads(line) for line in (tmp_path / "lines.jsonl").open())
    assert not {"error"} & (host.keys() | training.keys())
    assert np.isfinite(training["loss"])
    rows = {row[0]: row for row in cells(capsys.readouterr().out)}
    assert rows["1"][1] == f"{host['images_per_second']:,.0f}"
    device, fed = (training[name]["images_per_second"] for name in ("device", "fed"))
    assert min(device, fed) > 0
    assert rows["none"][4] == f"{100 * (device - fed) / device:.1f} %"


def test_streaming_reads_on_in_parts_that_workers_have_not_made_yet():
    arguments = streaming.parse(["--batch_size=32", "--groups=2", "--steps=4"])
    split = StreamedSplit(None, np.arange(10, 13), 64, workers=6)
    # Six workers hold 2 x 16 images each, six batches; two are on the device, three are spare.
    assert streaming.warmup(6, 32) == 6 + 2 + 3
    many = streaming.repeated(split, arguments)
    assert len(many) == (11 + 8 + 2) * 32
    np.testing.assert_array_equal(many.index[:7], [10, 11, 12, 10, 11, 12, 10])


def test_train_step_writes_lines_and_resumes(tmp_path):
    out = tmp_path / "lines.jsonl"
    given = ["-m", "benchmarks.train_step", "--tiny", "--framework=jax", "--augment=none"]
    first = helpers.command(*given, f"--out={out}")
    assert first.returncode == 0, first.stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["key"]["what"] for line in lines] == ["product", "count", "step"]
    assert not any("error" in line for line in lines)
    assert np.isfinite(lines[-1]["loss"])
    before = out.read_bytes()
    again = helpers.command(*given, f"--out={out}")
    assert again.returncode == 0
    assert out.read_bytes() == before


def test_train_step_prints_its_tables(tmp_path, capsys):
    recorder = harness.Recorder(tmp_path / "lines.jsonl")
    key = {"what": "step", "model": "wrn16_4", "dtype": "float32", "batch_size": 10}
    speed = {"parameters": 2748890, "compile_seconds": 1.0}
    for framework, fields, step_ms in (
        ("jax", {"augment": "none"}, 20.0),
        ("jax", {"augment": "augmix"}, 21.0),
        ("torch", {"mode": "eager"}, 40.0),
        ("torch", {"mode": "compiled"}, 25.0),
    ):
        line = speed | {"images_per_second": 1e4 / step_ms, "images_per_cpu_second": 1}
        recorder.run({**key, **fields, "framework": framework}, lambda line=line: line)
    recorder.run(
        {"what": "product", "framework": "jax", "dtype": "float32"},
        lambda: {"tflops": 10.0, "cpu_tflops": 1},
    )
    counted = {"multiply_adds": 4e8, "xla_multiply_adds": 4e8, "parameters": 2748890}
    recorder.run({"what": "count", "model": "wrn16_4"}, lambda: counted)
    given = [
        "--device=gpu",
        "--dtype=float32",
        "--only=wrn16_4",
        "--batch_sizes=10",
        f"--out={recorder.path}",
    ]
    train_step.tables(train_step.parse(given), recorder)
    rows = {row[0]: row for row in cells(capsys.readouterr().out)}
    # 500 images/s of 2.4 GFLOP are 1.2 TFLOP/s, 12 % of 10; PyTorch's fastest does 400 images/s.
    assert rows["wrn16_4, batch 10, float32: jax, ours"][2:7] == [
        "500",
        "20.00",
        "1.2",
        "12 %",
        "1.25",
    ]
    assert rows["wrn16_4, batch 10: augmix"][1:] == ["476", "1.00", "5.0 %"]


def test_recorder_keeps_good_lines_and_tries_bad_ones_again(tmp_path):
    calls = []

    def measure(fails):
        calls.append(fails)
        if fails:
            raise ArithmeticError("too small a machine")
        return {"speed": 1}

    for fails in (True, False, False):
        recorder = harness.Recorder(tmp_path / "lines.jsonl")
        recorder.run({"name": "a"}, lambda fails=fails: measure(fails))
    assert calls == [True, False]
    assert recorder.lines()[0]["error"] == "ArithmeticError: too small a machine"
    assert recorder.result(name="a")["speed"] == 1
    assert recorder.result(name="b") is None
    harness.Recorder(recorder.path, seconds=-1).run({"name": "b"}, lambda: measure(True))
    assert calls == [True, False]


def test_multiply_adds_by_hand():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.Conv(8, (3, 3), strides=2, padding=1)(x)  # 5 x 4 places, 3·9·8 each
            x = nn.jit(nn.Conv)(6, (1, 1))(x)  # 8·6 each
            return nn.Dense(7)(x.reshape(x.shape[0], -1))  # 120·7

    image = jnp.zeros((1, 10, 8, 3))
    params = Net().init(jax.random.key(0), image)
    program = jax.make_jaxpr(Net().apply)(params, image).jaxpr
    assert train_step_jax.multiply_adds(program) == 20 * (3 * 9 * 8 + 8 * 6) + 120 * 7


@pytest.mark.parametrize(("model", "published"), list(train_step.TABLE.items()))
def test_counts_agree_with_the_literature(model, published):
    counted = train_step_jax.count(model)
    np.testing.assert_allclose(counted["parameters"], published[0], rtol=0.02)
    np.testing.assert_allclose(counted["multiply_adds"], published[1], rtol=0.02)


def test_both_frameworks_have_the_same_parameters():
    helpers.import_torch()
    torch_models = importlib.import_module("benchmarks.torch_models")
    for name, make in torch_models.MODELS.items():
        parameters = sum(p.numel() for p in make(10).parameters())
        assert parameters == train_step_jax.count(name)["parameters"]


def test_help_names_the_flags():
    for name in ("corruptions", "augmentations", "train_step", "calibration", "streaming"):
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", "--help"],
            cwd=helpers.ROOT,
            env=helpers.environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        assert "--" in done.stdout


def test_evaluation_makes_and_evaluates_all_severities(capsys):
    evaluation.main(["--tiny", "--attacks=fgsm"])
    out = capsys.readouterr().out
    assert "10 corrupted sets of 128 images; attacks: fgsm" in out  # two corruptions
    rows = {row[0]: row for row in cells(out)}
    for name in (evaluation.MADE, evaluation.KEPT, evaluation.ALONE):
        assert float(rows[name][2].replace(",", "")) > 0
    assert {evaluation.ATTACKED, evaluation.ATTACKED_NEXT} <= set(rows)


def test_start_compares_imports(capsys):
    start.main(["--imports", "--repeats=1"])
    printed = capsys.readouterr().out
    rows = {row[0]: row for row in cells(printed)}
    libraries, program = (float(rows[n][1]) for n in (start.LIBRARIES, start.PROGRAM))
    ratio = float(printed.split()[-1])
    assert ratio == pytest.approx(program / libraries, rel=0.05)


def test_start_prints_a_cold_and_a_warm_start(capsys, tmp_path):
    plain = [flag for flag in helpers.flags() if "epochs" not in flag]
    (config,) = (flag for flag in plain if flag.startswith("--config="))
    others = [flag for flag in plain if not flag.startswith("--config=")]
    start.main(["--repeats=1", config, *others])
    rows = {row[0]: row for row in cells(capsys.readouterr().out)}
    for kind in ("cold", "warm"):
        first, end = float(rows[kind][1]), float(rows[kind][3])
        assert 0 < first <= end


def test_features_print_ratios_to_the_plain_pass(capsys):
    features.main(["--tiny"])
    rows = {row[0]: row[1:] for row in cells(capsys.readouterr().out)}
    assert float(rows[features.ALONE][1]) == 1
    for name in (features.DRIFT, features.ALL):
        seconds, ratio = map(float, rows[name])
        assert ratio == pytest.approx(seconds / float(rows[features.ALONE][0]), rel=0.3)


def test_features_are_timed_in_turns():
    order = []
    calls = {name: functools.partial(order.append, name) for name in "ab"}
    seconds = features.in_turns(calls, repeats=2)
    assert order == list("ababab") and set(seconds) == {"a", "b"}


def test_visits_are_compared_with_full_passes(tmp_path, capsys):
    """Differences of labels and results, by hand."""
    first = np.array([[[0.9, 0.8], [0.8, 0.6]], [[0.7, 1.0], [0.9, 0.8]]])  # [seeds, epochs, N]
    labels = {True: first, False: first + [[[9, 9], [0.1, 0.0]], [[9, 9], [0.0, -0.2]]]}
    for (exact, of_seeds), seed in itertools.product(labels.items(), (0, 1)):
        config = helpers.small_config(calibration__exact=exact, seed=seed).to_dict()
        run = run_dir.RunDir(tmp_path / f"{exact}{seed}")
        run.path.mkdir()
        files.write_json(run.path / "config.json", config)
        lines = [
            {"epoch": i, "label_confidence": x.tolist(), "seconds": 2.0}
            for i, x in enumerate(of_seeds[seed])
        ]
        files.rewrite_json_lines(run.path / "metrics.jsonl", lines)
        result = {"ece": 0.1 + 0.02 * seed * (not exact), "nll": 1.0, "accuracy": 0.5}
        files.write_json(run.path / "result.json", result)
    visits.main([str(tmp_path)])
    (row,) = (r for r in cells(capsys.readouterr().out) if r[0].startswith("share"))
    # Over seeds: (.05, -.1); per seed: (.1, 0), (0, -.2).
    assert row[:5] == ["share=0.1", "2", "0.0750", "0.0750", "0.0750"]
    assert row[5:] == ["+0.0100 ± 0.0100", "+0.0000 ± 0.0000", "+0.0000 ± 0.0000", "2"]


def test_means_hide_differences_of_opposite_sign():
    exact = np.zeros((2, 2, 1))
    some = np.array([[[0.1], [0.3]], [[-0.1], [-0.1]]])
    np.testing.assert_allclose(visits.differences(some, exact), [0.05, 0.15, 0.15])


def test_input_pipeline_compares_decoders(capsys):
    input_pipeline.main(["--decoders", "--images=3", "--repeats=1"])
    out = capsys.readouterr().out
    rows = {row[0]: row for row in cells(out)}
    assert rows["data.decoder=pillow"][2] == "0.00"
    if "data.decoder=opencv" in rows:
        assert 0 < float(rows["data.decoder=opencv"][2]) < 2
    if "torchvision is not measured: " not in out:  # its resizing is Pillow's
        assert float(rows["torchvision, resized antialiased"][2]) < 0.1
