"""Metrics of epochs as JSON and as TensorBoard events, read back by other means; provenance."""

import json
import math
import struct
import subprocess

import pytest

import autolabel_jax
from autolabel_jax import metric_writer
from autolabel_jax.run_dir import RunDir


def events(folder):
    """Records of all event files: [length u64, crc u32, bytes, crc u32] each."""
    records = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        place = 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            records.append(data[place + 12 : place + 12 + length])
            place += 16 + length
        assert place == len(data)
    return records


def line(epoch, **more):
    return {"epoch": epoch, "train_loss": 1.5 - epoch, "label_confidence": [1.0, 0.5]} | more


def write(workdir, first_epoch, *lines):
    writer = metric_writer.MetricWriter(RunDir(workdir), first_epoch)
    for each in lines:
        writer.write(each)
    writer.close()


def raw(workdir):
    return [json.loads(text) for text in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_lines_come_back_as_they_were_written(tmp_path):
    lines = [line(0), line(1, train_loss=0.1 + 0.2)]
    write(tmp_path, 0, *lines)
    assert raw(tmp_path) == lines
    assert RunDir(tmp_path).read_metrics() == lines


def test_tensorboard_has_each_number_and_each_bucket(tmp_path):
    write(tmp_path, 0, line(0), line(1))
    records = b"".join(events(tmp_path / "tensorboard"))
    for tag in (b"train_loss", b"label_confidence/000", b"label_confidence/001"):
        assert records.count(tag) == 2
        assert struct.pack("<f", 0.5) in records


def test_nan_is_null_in_json(tmp_path):
    write(tmp_path, 0, line(0, bucket_accuracy=[0.25, math.nan], calibration_ece=math.inf))
    assert raw(tmp_path)[0]["bucket_accuracy"] == [0.25, None]
    assert raw(tmp_path)[0]["calibration_ece"] is None


def test_a_line_cut_off_by_a_kill_is_left_out(tmp_path):
    whole = json.dumps(line(0)) + "\n"
    (tmp_path / "metrics.jsonl").write_text(whole + json.dumps(line(1))[:-7])
    assert RunDir(tmp_path).read_metrics() == [line(0)]
    write(tmp_path, 1, line(1, train_loss=7.0))
    assert raw(tmp_path) == [line(0), line(1, train_loss=7.0)]


def test_lines_after_the_checkpoint_are_dropped(tmp_path):
    write(tmp_path, 0, line(0), line(1), line(2))
    write(tmp_path, 1, line(1, train_loss=7.0))
    assert raw(tmp_path) == [line(0), line(1, train_loss=7.0)]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["metrics.jsonl", "tensorboard"]


class Counting:
    """A device with a count of its memory, or without."""

    def __init__(self, stats):
        self.memory_stats = lambda: stats


@pytest.mark.parametrize(
    ("devices", "gib"),
    [([{"peak_bytes_in_use": 3 * 2**29}, {"peak_bytes_in_use": 2**30}], 1.5), ([None, {}], None)],
)
def test_peak_memory_is_that_of_the_fullest_device(monkeypatch, devices, gib):
    monkeypatch.setattr("jax.local_devices", lambda: [Counting(stats) for stats in devices])
    assert metric_writer.provenance()["peak_memory_gib"] == gib


def test_provenance_names_the_commit_and_the_versions(tmp_path):
    found = metric_writer.provenance()
    assert set(found) == {"revision", "numerics_version", "versions", "device", "peak_memory_gib"}
    assert found["numerics_version"] == autolabel_jax.NUMERICS_VERSION
    assert {"autolabel_jax", "python", "jax", "flax", "optax", "numpy"} <= set(found["versions"])
    assert "cpu" in found["device"].lower() or " x " in found["device"]
    git = subprocess.run(
        ["git", "rev-parse", "HEAD"],
        cwd=metric_writer.__file__.rsplit("/", 1)[0],
        capture_output=True,
        text=True,
        check=False,
    )
    if git.returncode == 0:
        assert found["revision"].removesuffix("-dirty") == git.stdout.strip()
    else:
        assert found["revision"].startswith("autolabel_jax ")


LINES = [{"epoch": n, "train_loss": 1.5 - n / 8} for n in range(4)]


@pytest.mark.parametrize(
    ("damage", "epochs"),
    [
        (lambda text: "", "1-4"),
        (lambda text: text.replace('{"epoch": 1,', '{"ep#ch": 1,'), "2"),
        (lambda text: text.replace("1.25", "1.35"), "3"),
        (lambda text: text.replace('"epoch": 3', "\0\0\0\0"), "4"),
        (lambda text: "[]\n" + "".join(text.splitlines(keepends=True)[1:2]), "1, 3-4"),
    ],
)
def test_damaged_metrics_are_restored_from_a_checkpoint_or_named(tmp_path, capsys, damage, epochs):
    run, path = RunDir(tmp_path), tmp_path / "metrics.jsonl"
    for line in LINES:
        run.write_metrics(line)
    whole = path.read_text()
    metric_writer.restore_metrics(run, 4, LINES)
    assert (path.read_text(), capsys.readouterr().err) == (whole, "")
    path.write_text(damage(whole))
    metric_writer.restore_metrics(run, 4, LINES)
    assert path.read_text() == whole
    assert f"was damaged; the lines of epochs {epochs} are restored" in capsys.readouterr().err
    path.write_text(damage(whole))
    metric_writer.restore_metrics(run, 4, LINES[:1])
    left = {line["epoch"] for line in run.read_metrics()}
    lost = left != {0, 1, 2, 3}
    said = capsys.readouterr().err
    assert lost == ("are missing, and no checkpoint has them" in said)
    assert not lost or (tmp_path / "metrics.damaged").read_text() == damage(whole)
