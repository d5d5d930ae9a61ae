"""SpecAugment, noise and time shift, against NumPy and SciPy."""

import dataclasses
import functools

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from autolabel_jax import audio_ops, augment, calibration_step, experiment, input_pipeline
from autolabel_jax import train_step as train_step_lib
from autolabel_jax.audio_ops import LogMel
from autolabel_jax.augment import AudioNoise, SpecAugment, TimeShift
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.types import Batch, Distance

DRAWS = 4000
FRONT = LogMel(sample_rate=8000, samples=800, window=64, hop=20, bands=12)  # 37 frames
FRAMES, BANDS, _ = FRONT.shape
MEAN = np.linspace(-9, -5, BANDS).astype(np.float32)


def clips(num, seed=0):
    rng = np.random.default_rng(seed)
    wave = rng.normal(size=(num, FRONT.samples)) * rng.uniform(0.1, 1, (num, 1))
    wave[:, 600:] = 0  # padding
    return wave.astype(np.float32)


def dataset_of(waves=True):
    encoding = {"reads": "audio", "resample": False, **dataclasses.asdict(FRONT)}
    values = clips(20) if waves else np.zeros((20, FRAMES, BANDS, 1), np.float32)
    label = np.arange(20, dtype=np.int32) % 3
    split = Split(values, label, None, np.arange(20))
    std = np.full(BANDS, 2, np.float32)
    moments = (MEAN, std) if waves else (MEAN[:1], std[:1])
    return Dataset(
        "d",
        split,
        split,
        split,
        3,
        None,
        *moments,
        kind="audio",
        encoding=encoding if waves else None,
    )


def move(method, values, value, group=0, seed=1):
    num = len(values)
    distance = Distance(
        group=jnp.broadcast_to(jnp.asarray(group, jnp.int32), (num,)),
        value=jnp.broadcast_to(jnp.asarray(value, jnp.float32), (num,)),
    )
    place = jnp.arange(num, dtype=jnp.int32)
    ones = jnp.ones(num)
    batch = Batch(jnp.asarray(values), label=place % 3, index=place, mask=ones, distance=0 * ones)
    return jax.jit(method.apply)(jax.random.key(seed), batch, distance)


@pytest.mark.parametrize(("most", "num_masks"), [(0.5, 1), (0.3, 3), (0.9, 2)])
def test_spec_augment_hides_the_share_of_its_distance(most, num_masks):
    method = SpecAugment(max_cells=most, num_masks=num_masks)
    method = dataclasses.replace(method, mean=tuple(MEAN.tolist()))  # of spectrograms
    drawn = method.draw(jax.random.key(0), DRAWS)
    done = move(method, np.full((DRAWS, FRAMES, BANDS, 1), 99, np.float32), drawn.value)
    found = np.asarray(done.input)[..., 0]
    hidden = found != 99
    assert np.all(found[hidden] == np.broadcast_to(MEAN, found.shape)[hidden])
    share = hidden.mean((1, 2))
    np.testing.assert_allclose(done.distance.value, share / most, atol=1e-5)
    assert share.max() <= most + 1e-6
    # Rounded to whole frames of what the bands leave.
    assert np.abs(share - most * np.asarray(drawn.value)).max() <= 1.01 / FRAMES
    # Whole bands and whole frames, in at most the number of masks.
    bands, frames = hidden.all(1), hidden.all(2)
    np.testing.assert_array_equal(hidden, bands[:, None, :] | frames[:, :, None])
    for mask in (bands, frames):
        runs = (np.diff(np.pad(mask, ((0, 0), (1, 0))).astype(int), axis=1) == 1).sum(1)
        assert runs.max() == num_masks


def test_the_realised_share_is_uniform_where_cells_are_small():
    method = dataclasses.replace(SpecAugment(num_masks=2), mean=(0.0,) * 40)
    drawn = method.draw(jax.random.key(0), DRAWS)
    done = move(method, np.ones((DRAWS, 200, 40, 1), np.float32), drawn.value)
    share = np.mean(np.asarray(done.input) == 0, axis=(1, 2, 3))
    assert stats.kstest(share / 0.5, "uniform").pvalue > 0.01
    np.testing.assert_allclose(done.distance.value, share / 0.5, atol=1e-5)


def test_masks_lie_anywhere_and_on_both_axes():
    method = dataclasses.replace(SpecAugment(), mean=(0.0,) * BANDS)
    done = move(method, np.ones((DRAWS, FRAMES, BANDS, 1), np.float32), 0.4)
    hidden = np.asarray(done.input)[..., 0] == 0
    bands, frames = hidden.all(1), hidden.all(2)
    # A mask of two bands begins at each band alike.
    begins = bands.argmax(1)[bands.sum(1) == 2]
    assert stats.chisquare(np.bincount(begins, minlength=BANDS - 1)).pvalue > 0.01
    assert np.mean(bands.any(1) & frames.any(1)) > 0.5
    # The share of it that is in bands is uniform: log(1 - bands) / log(1 - all) ~ U[0, 1].
    # So no band is hidden for a share up to log(12 / 11) / log(1 / 0.8) of it.
    assert np.mean(~bands.any(1)) == pytest.approx(np.log(12 / 11) / np.log(1.25), abs=0.03)


def test_spec_augment_takes_waveforms():
    method = SpecAugment().for_data(dataset_of())
    assert method.front == FRONT
    wave = clips(6)
    expected = np.asarray(jax.jit(FRONT)(wave))
    np.testing.assert_allclose(move(method, wave, 0.0).input, expected, rtol=1e-5, atol=1e-5)
    done = np.asarray(move(method, wave, 1.0).input)
    hidden = done == MEAN[:, None]
    np.testing.assert_allclose(done[~hidden], expected[~hidden], rtol=1e-5, atol=1e-5)
    assert 0.4 < hidden.mean() <= 0.51


def test_noise_is_linear_in_decibels():
    method = AudioNoise(max_snr=30.0, min_snr=-10.0)
    drawn, wave = method.draw(jax.random.key(0), DRAWS), clips(DRAWS)
    done = move(method, wave, drawn.value)
    added = np.asarray(done.input, np.float64) - wave
    power = np.mean(wave[:, :600].astype(np.float64) ** 2, axis=1)
    ratio = 10 * np.log10(power / np.mean(added**2, axis=1))
    np.testing.assert_allclose(ratio, 30 - 40 * np.asarray(done.distance.value), atol=2e-3)
    assert stats.kstest((30 - ratio) / 40, "uniform").pvalue > 0.01


@pytest.mark.parametrize("most", [0.25, 1.0])
def test_shifts_are_whole_samples_in_both_directions(most):
    method = TimeShift(max_shift=most)
    drawn = method.draw(jax.random.key(0), DRAWS)
    wave = np.arange(1, 801, dtype=np.float32) * np.ones((DRAWS, 1), np.float32)
    done = move(method, wave, drawn.value, drawn.group)
    found, group = np.asarray(done.input), np.asarray(drawn.group)
    largest = int(most * 800)
    shift = np.round(np.asarray(drawn.value) * largest).astype(int)
    np.testing.assert_allclose(done.distance.value, shift / largest, atol=1e-6)
    for row in range(0, DRAWS, 50):
        by = shift[row] if group[row] == 0 else -shift[row]
        expected = np.zeros(800)
        expected[max(0, by) : 800 + min(0, by)] = wave[row, max(0, -by) : 800 - max(0, by)]
        np.testing.assert_array_equal(found[row], expected)
    assert stats.kstest(np.asarray(done.distance.value), "uniform").pvalue > 0.01
    assert stats.binomtest(int(group.sum()), DRAWS).pvalue > 0.01
    np.testing.assert_array_equal(move(method, wave[:4], 0.0).input, wave[:4])


def test_mixup_is_linear_in_the_waveform():
    method, wave = augment.create(helpers.small_config(augment__name="mixup")), clips(8)
    partner = (np.asarray(move(method, wave, 0.5).input) - 0.75 * wave) / 0.25
    for row in partner:
        assert np.abs(wave - row).max(1).min() < 1e-5


@pytest.mark.parametrize("name", sorted(augment.TABLE))
def test_augmentations_of_other_inputs_are_refused_by_name(name):
    method = augment.create(helpers.small_config(augment__name=name))
    if name in ("spec_augment", "audio_noise", "time_shift", "mixup", "none", "given"):
        method.check_input(dataset_of().spec)
    else:
        with pytest.raises(ValueError, match=f"augment.name: .*{method.name}.*|got '{name}'"):
            method.check_input(dataset_of().spec)
    if name in ("audio_noise", "time_shift"):
        with pytest.raises(ValueError, match=f"{name!r} moves waveforms .samples.; got spectro"):
            method.check_input(dataset_of(waves=False).spec)
    if name == "spec_augment":
        method.check_input(dataset_of(waves=False).spec)
        with pytest.raises(ValueError, match="'spec_augment' accepts inputs of kind audio; got"):
            method.check_input(helpers.make_dataset().spec)


def test_the_ratio_must_fall():
    with pytest.raises(ValueError, match="augment.min_snr: got 40.0, must be below augment.max_"):
        AudioNoise(min_snr=40.0).check_input(dataset_of().spec)


def created(name, **changes):
    fields = {"model__name": "small_cnn", "crop_pad": 0, "flip": False, "batch_size": 8}
    config = helpers.small_config(augment__name=name, **{**fields, **changes})
    return experiment.create(config, dataset_of(), input_pipeline.make_mesh())


def test_a_held_out_clip_counts_in_the_bucket_of_the_hidden_share():
    made = created("spec_augment", augment__max_cells=0.02, buckets__num=4)
    # Of 37 × 12 cells, up to 8 are hidden: no whole frame (12) and no whole band (37).
    state = experiment.init_state(made, 0, (FRONT.samples,))
    whole = input_pipeline.put_split(dataset_of().calibration, made.mesh)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=made))
    bucket = jnp.full(20, 3, jnp.int32)
    stats_ = step(state, whole, jnp.arange(20), bucket, jax.random.key(0))
    np.testing.assert_array_equal(np.asarray(stats_.count).sum(1), [20, 0, 0, 0])


def test_views_of_a_loss_are_spectrograms_with_the_clean_one():
    made = created("spec_augment", loss__jsd=12.0)
    state = experiment.init_state(made, 0, (FRONT.samples,))
    whole = input_pipeline.put_split(dataset_of().train, made.mesh)
    batch = input_pipeline.take(whole, jnp.arange(8), made.mesh)
    draw = functools.partial(train_step_lib.draw_augmented, experiment=made)
    clean, augmented = jax.jit(draw)(state, batch, jax.random.key(0))
    assert clean.input.shape == (8, FRONT.samples)
    assert augmented.input.shape == (24, *FRONT.shape)
    expected = audio_ops.of_all(FRONT, np.asarray(batch.input))
    np.testing.assert_allclose(augmented.input[::3], expected, rtol=1e-5)
