"""Sound files, the network that reads spectrograms in time, and corruptions of waveforms."""

import csv
import dataclasses
import functools
import io
import re
import sys
import types
import warnings

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pyarrow
import pytest
from pyarrow import parquet
from scipy import signal
from scipy.io import wavfile

from autolabel_jax import audio_ops, corruptions, datasets, defaults, input_pipeline, models
from autolabel_jax.audio_ops import LogMel
from autolabel_jax.datasets import Dataset, Split, fingerprint, waveforms
from autolabel_jax.evaluation import held_out
from autolabel_jax.models import features

RATE = 8000
SETTINGS = {
    "sample_rate": 0, "seconds": 0.0, "peak": False, "mel_bands": 8, "window_ms": 32, "hop_ms": 16,
}  # fmt: skip


def tone(num=1600, frequency=500.0, seed=0):
    rng = np.random.default_rng(seed)
    wave = 0.5 * np.sin(2 * np.pi * frequency / RATE * np.arange(num)) + rng.normal(0, 0.01, num)
    return wave.astype(np.float32)


def whole(wave):
    return np.round(wave * 32767).astype(np.int16)


def content(values, rate=RATE):
    file = io.BytesIO()
    wavfile.write(file, rate, values)
    return file.getvalue()


def encoding_of(**changes):
    fields = {"sample_rate": RATE, "samples": 1600, "window": 256, "hop": 128, "bands": 8}
    return {"reads": "audio", "resample": False, "peak": False, **fields, **changes}


def write(folder, lengths=(1600,) * 10, endings=".wav", **fields):
    """WAV files of two tones, with their manifest."""
    rows = []
    for i, num in enumerate(lengths):
        name, split = ("low", "high")[i % 2], "train" if i < len(lengths) - 4 else "test"
        wave = tone(num, (400, 1500)[i % 2], seed=i)
        wavfile.write(folder / f"{i}.wav", RATE, whole(wave))
        rows.append((f"{i}.wav", name, split))
    with open(folder / "clips.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split"), *rows])
    return folder / "clips.csv"


def load(path, **fields):
    config = defaults.base()
    config.dataset, config.data_dir, config.calibration.fraction = "manifest", str(path), 0.5
    config.crop_pad, config.flip = 0, False
    config.update_from_flattened_dict({"data.mel_bands": 8, **fields})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # so few examples lack some classes
        return datasets.load(config)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([-32768, 0, 16384], np.int16), [-1, 0, 0.5]),
        (np.array([-(2**31), 0, 2**30], np.int32), [-1, 0, 0.5]),
        (np.array([0, 128, 192], np.uint8), [-1, 0, 0.5]),
        (np.array([-1.5, 0, 0.25], np.float32), [-1.5, 0, 0.25]),
        (np.array([-0.5, 0, 0.25], np.float64), [-0.5, 0, 0.25]),
    ],
    ids=lambda value: str(getattr(value, "dtype", "")),
)
def test_samples_of_each_type_are_read(values, expected):
    found, rate = waveforms.decode(content(values, 11025))
    assert rate == 11025 and found.dtype == np.float32
    np.testing.assert_array_equal(found, np.float32(expected))
    wave = waveforms.clip(content(values), encoding_of(samples=3))
    np.testing.assert_array_equal(wave, np.float32(expected))


def test_clips_are_padded_or_cut_at_their_end():
    wave = tone(1600)
    short = waveforms.clip(content(wave[:1000]), encoding_of())
    np.testing.assert_array_equal(short, np.r_[wave[:1000], np.zeros(600, np.float32)])
    long = waveforms.clip(content(wave), encoding_of(samples=900))
    np.testing.assert_array_equal(long, wave[:900])
    loud = waveforms.clip(content(wave), encoding_of(samples=900, peak=True))
    np.testing.assert_allclose(loud, wave[:900] / np.abs(wave[:900]).max(), rtol=1e-6)


def test_another_sample_rate_is_resampled_like_scipy_where_that_is_asked():
    wave = tone(2205)
    found = waveforms.clip(content(wave, 11025), encoding_of(resample=True))
    np.testing.assert_allclose(found, signal.resample_poly(wave, 320, 441), atol=1e-6)


BAD = {
    "nan": (content(np.array([0.1, np.nan], np.float32)), "holds samples that are not finite"),
    "silent": (content(np.zeros(100, np.int16)), "is silent in its first 100 samples"),
    "silent_start": (
        content(np.repeat(np.int16([0, 9]), 1600)),
        "is silent in its first 1600 samp",
    ),
    "stereo": (content(np.ones((50, 2), np.int16)), "has 2 channels, expected one; mix them"),
    "rate": (content(whole(tone()), 16000), "has 16000 samples per second, expected 8000; resam"),
    "nothing": (content(np.zeros(0, np.int16)), "holds no samples"),
    "empty": (b"", "is empty"),
    "cut": (content(whole(tone()))[:-100], "is cut off: it has 3144 of 3244 bytes"),
    "no_rate": (content(whole(tone()), 0), "has a sample rate of 0"),
    "damaged": (b"RIFF\0\0\0\0WAVEnothing", "cannot be decoded ("),
    "other": (b"fLaC and more", "is no .wav file; other formats need `pip install 'autolabel-jax"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "soundfile", None)  # as if it were not installed
    bad, message = BAD[name]
    with pytest.raises(ValueError, match=f"^{re.escape(message)}.*$"):
        waveforms.clip(bad, encoding_of())
    path = write(tmp_path)
    (tmp_path / "0.wav").write_bytes(bad)
    start = re.escape(message[:18])
    named = rf"^data_dir: \S+: 1 of 10 sound files cannot be used: \S+0.wav \({start}.*$"
    with pytest.raises(ValueError, match=named):
        load(path, **{"data.seconds": 0.2})
    left = load(path, **{"data.seconds": 0.2, "data.skip_unreadable": True})
    assert 0 not in [*left.train.index, *left.calibration.index]
    assert len(left.train) + len(left.calibration) == 5


def test_a_file_that_is_missing_is_named(tmp_path):
    path = write(tmp_path)
    (tmp_path / "0.wav").unlink()
    with pytest.raises(ValueError, match=r"0.wav \(No such file or directory\)"):
        load(path)


def test_soundfile_reads_other_formats(monkeypatch):
    wave = tone(300)
    asked = []

    def read(file, dtype):
        asked.append((file.read(), dtype))
        return wave, RATE

    monkeypatch.setitem(sys.modules, "soundfile", types.SimpleNamespace(read=read))
    found, rate = waveforms.decode(b"fLaC and more")
    assert rate == RATE and asked == [(b"fLaC and more", "float32")]
    np.testing.assert_array_equal(found, wave)


def test_a_manifest_of_sound_files(tmp_path, capfd):
    path = write(tmp_path, lengths=(1600, 1200, 1400, 1000, 900, 1600, 3000, 800, 1600, 1600))
    dataset = load(path)
    assert "0.2 s now: 5 of 10 are padded with zeros, 1 are cut" in capfd.readouterr().err
    assert dataset.spec.kind == "audio" and dataset.spec.shape == (1600,)  # the longest in training
    assert dataset.encoding == encoding_of()
    assert fingerprint.describe(dataset)["encoding"] == encoding_of()
    for split in (dataset.train, dataset.calibration, dataset.test):
        for wave, row in zip(split.input, split.index):
            _, stored = wavfile.read(tmp_path / f"{row}.wav")
            expected = np.zeros(1600, np.float32)
            expected[: len(stored)] = stored[:1600] / 32768
            np.testing.assert_array_equal(wave, expected)
    # Mean and standard deviation are those of the spectrograms of the training split.
    front = audio_ops.front_end(dataset.encoding)
    inputs = np.concatenate([dataset.train.input, dataset.calibration.input])
    expected = audio_ops.of_all(front, inputs)[..., 0]
    np.testing.assert_allclose(dataset.mean, expected.mean((0, 1)), rtol=1e-4)
    np.testing.assert_allclose(dataset.std, expected.std((0, 1)), rtol=1e-4)
    # Contents in a Parquet file, and folders by class, hold the same.
    rows = [*csv.DictReader(path.read_text().splitlines())]
    table = {name: [row[name] for row in rows] for name in ("label", "split")}
    table["path"] = [(tmp_path / row["path"]).read_bytes() for row in rows]
    parquet.write_table(pyarrow.table(table), tmp_path / "clips.parquet")
    assert fingerprint.describe(load(tmp_path / "clips.parquet")) == fingerprint.describe(dataset)
    for row in rows:
        folder = tmp_path / "folder" / row["label"]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / row["path"]).write_bytes((tmp_path / row["path"]).read_bytes())
    found = load(tmp_path / "folder")
    assert found.class_names == ("high", "low") and found.spec.kind == "audio"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data.mel_bands": 200}, "data.mel_bands: got 200, of which .* hold no frequency of a w"),
        ({"data.window_ms": 300}, "data.window_ms: got 300, longer than the clips of .*, 200 ms"),
        ({"data.seconds": -1.0}, "data.seconds: got -1.0, must be between 0 and 3600"),
        ({"dataset": "digits", "data.seconds": 1.0}, "data.seconds: got 1.0 with dataset='digits'"),
        ({"dataset": "digits", "data.peak": True}, "data.peak: got True with dataset='digits'"),
        ({"data.kind": "text"}, "kind 'text'|cannot be decoded"),
    ],
)
def test_settings_that_do_not_fit_are_named(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        load(write(tmp_path), **fields)


def test_waveforms_need_a_sample_rate(tmp_path):
    rows = {"input": [[0.5, -0.5, 0.1]] * 8, "label": [0, 1] * 4}
    parquet.write_table(pyarrow.table(rows), tmp_path / "m.parquet")
    with pytest.raises(ValueError, match=r"kind 'audio' must be \[time, frequency, 1\], got \[3\]"):
        load(tmp_path / "m.parquet", **{"data.kind": "audio"})


# Models.

FRONT = LogMel(sample_rate=RATE, samples=2000, window=128, hop=40, bands=12)


def clips(num=6, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(num, 2000)) * rng.uniform(0.1, 1, (num, 1))).astype(np.float32)


def dataset_of(waves=True):
    encoding = encoding_of(**dataclasses.asdict(FRONT))
    values = clips() if waves else np.zeros((6, *FRONT.shape), np.float32)
    split = Split(values, np.arange(6, dtype=np.int32) % 2, None, np.arange(6))
    moments = (np.full(12 if waves else 1, value, np.float32) for value in (-3, 2))
    own = encoding if waves else None
    return Dataset("d", split, split, split, 2, None, *moments, kind="audio", encoding=own)


def model_of(name, dataset):
    config = helpers.small_config(model__name=name, model__width=4)
    parts = {"mean": dataset.mean, "std": dataset.std, "encoding": dataset.encoding}
    model = models.create(config, num_classes=2, spec=dataset.spec, **parts)
    params, batch_stats = models.init(model, jax.random.key(0), dataset.spec.shape)
    return model, {"params": params, "batch_stats": batch_stats}


@pytest.mark.parametrize("name", ["crnn", "mlp"])
def test_networks_take_waveforms_and_their_spectrograms(name):
    dataset = dataset_of()
    model, variables = model_of(name, dataset)
    wave, apply = dataset.test.input, jax.jit(model.apply)
    logits = apply(variables, wave)
    np.testing.assert_allclose(apply(variables, FRONT(wave)), logits, atol=1e-5)
    standard = (np.asarray(FRONT(wave)) + 3) / 2
    bound = model.net.clone()
    inner = {key: value["net"] for key, value in variables.items() if value}
    np.testing.assert_allclose(jax.jit(bound.apply)(inner, standard), logits, atol=1e-4)
    forward = jax.jit(functools.partial(features.forward, model))
    found, recorded = forward(variables, jnp.asarray(wave))
    np.testing.assert_allclose(found, logits, atol=1e-5)
    assert recorded.penultimate is not None and len(recorded.stages) >= 2


def test_the_recurrent_unit_by_hand():
    dataset = dataset_of()
    model, variables = model_of("crnn", dataset)
    image = dataset.test.input
    _, recorded = jax.jit(features.forward, static_argnums=0)(model, variables, image)
    capturing = {"capture_intermediates": True, "mutable": ["intermediates"]}
    captured = jax.jit(functools.partial(model.apply, **capturing))(variables, image)
    captured = captured[1]["intermediates"]["net"]
    x = np.maximum(np.asarray(captured["BatchNorm_1"]["__call__"][0], np.float64), 0)
    x = x.reshape(*x.shape[:2], -1)
    unit = jax.tree.map(np.float64, variables["params"]["net"]["GRUCell_0"])
    h, states = np.zeros((6, 16)), []

    def dense(name, values):
        return values @ unit[name]["kernel"] + unit[name].get("bias", 0)

    def sigmoid(values):
        return 1 / (1 + np.exp(-values))

    for step in range(x.shape[1]):  # Cho et al., with the reset gate after the product
        r = sigmoid(dense("ir", x[:, step]) + dense("hr", h))
        z = sigmoid(dense("iz", x[:, step]) + dense("hz", h))
        n = np.tanh(dense("in", x[:, step]) + r * dense("hn", h))
        h = (1 - z) * n + z * h
        states.append(h)
    np.testing.assert_allclose(recorded.penultimate, np.mean(states, 0), atol=1e-5)


# Corruptions.


def corrupted(name, severity):
    dataset = dataset_of()
    transform = corruptions.create_for(dataset, name, severity)
    batch = input_pipeline.put_split(dataset.test, input_pipeline.make_mesh())
    out = np.asarray(transform(batch.index, batch.input))
    part = transform(batch.index[2:4], batch.input[2:4])  # a clip does not depend on its batch
    np.testing.assert_allclose(part, out[2:4], atol=1e-5)
    return dataset.test.input, out


def test_noise_has_the_ratio_of_its_severity():
    for severity, ratio in zip(range(1, 6), (20, 15, 10, 5, 0)):
        clean, out = corrupted("noise", severity)
        power = np.mean(clean**2, 1) / np.mean((out - clean) ** 2, 1)
        np.testing.assert_allclose(10 * np.log10(power), ratio, atol=0.01)


def test_reverberation_keeps_the_power_and_decays():
    clean, out = corrupted("reverberation", 1)
    np.testing.assert_allclose(np.sum(out**2, 1), np.sum(clean**2, 1), rtol=1e-4)
    click, reverberation = jnp.zeros(20_000).at[0].set(1), jax.jit(corruptions.audio.reverberation)
    decay = 4000.0  # samples until 60 dB below
    reply = np.asarray(reverberation(jax.random.key(0), click, decay))
    # Sound and echoes have half of the energy each.
    assert reply[0] ** 2 == pytest.approx(0.5, rel=1e-4)
    energy = np.cumsum(reply[:0:-1] ** 2)[::-1]  # Schroeder's integral
    level = 10 * np.log10(energy / energy[0])
    assert level[2000] == pytest.approx(-30, abs=1.5) and level[3200] == pytest.approx(-48, abs=1.5)
    # The echo of a sum is the sum of the echoes, up to the power: a convolution.
    wave = clips(1)[0]
    mixed = np.asarray(reverberation(jax.random.key(1), wave, decay))
    click = jnp.zeros(2000).at[0].set(1)
    reply = np.asarray(reverberation(jax.random.key(1), click, decay))
    expected = np.convolve(wave, reply)[:2000]
    expected *= np.linalg.norm(wave) / np.linalg.norm(expected)
    np.testing.assert_allclose(mixed, expected, atol=1e-4)


def test_band_limits_remove_what_is_outside():
    clean, out = corrupted("band_limit", 3)
    spectrum, whole = np.abs(np.fft.rfft(out)), np.abs(np.fft.rfft(clean))
    place = np.arange(1001) / 1000
    inside = (place > 0.0605) & (place < 0.4495)
    outside = (place < 0.0595) | (place > 0.4505)
    np.testing.assert_allclose(spectrum[:, inside], whole[:, inside], rtol=1e-3, atol=1e-3)
    assert spectrum[:, outside].max() < 1e-3 * whole.max()


def test_spectrograms_have_no_corruptions_and_no_noise():
    dataset = dataset_of(waves=False)
    with pytest.raises(ValueError, match="--corruptions: 'd' holds spectrograms; only waveforms"):
        corruptions.create_for(dataset, "reverberation", 1)
    near, far = held_out.families(helpers.small_config(), "audio")
    near.check_input(dataset.spec)
    with pytest.raises(ValueError, match="moves waveforms"):
        far.check_input(dataset.spec)
