"""Masks, drops and swaps of words, mixtures of texts, models and corruptions, by plain Python."""

import collections
import functools
import random

import helpers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from autolabel_jax import (
    augment,
    calibration_step,
    corruptions,
    experiment,
    image_ops,
    input_pipeline,
    models,
)
from autolabel_jax.augment import WordDropout, WordMasking, Words, WordSwap
from autolabel_jax.corruptions import texts as corrupt
from autolabel_jax.datasets import Dataset, Split
from autolabel_jax.types import Batch, Distance

NUM, LENGTH = 600, 12
VOCABULARY = ["the", "film", "is", "good", "goof", "i", "!", "straße", "don't", "aa"]


@functools.cache
def sentences():
    """Tokens of texts of one to twelve words, some of them unknown (1), int32 [NUM, LENGTH]."""
    rng = np.random.default_rng(0)
    out = np.zeros((NUM, LENGTH), np.int32)
    for row in out:
        num = rng.integers(1, LENGTH + 1)
        row[:num] = rng.integers(1, len(VOCABULARY) + 2, num)
    return out


def dataset_of(tokens, encoding="words"):
    num = len(tokens)
    split = Split(tokens, np.arange(num, dtype=np.int32) % 3, None, np.arange(num))
    known = {"reads": "text", "columns": [{"name": "text"}], "vocabulary": VOCABULARY}
    moments = np.zeros(LENGTH, np.float32), np.ones(LENGTH, np.float32)
    encoding = known | {"length": LENGTH} if encoding == "words" else None
    return Dataset("d", split, split, split, 3, None, *moments, kind="text", encoding=encoding)


def batch_of(tokens):
    num = len(tokens)
    return Batch(
        input=jnp.asarray(tokens),
        label=jnp.arange(num, dtype=jnp.int32) % 3,
        index=jnp.arange(num, dtype=jnp.int32),
        mask=jnp.ones(num),
        distance=jnp.zeros(num),
    )


def move(method, tokens, distance, seed=1):
    done = jax.jit(method.apply)(jax.random.key(seed), batch_of(tokens), distance)
    found = np.asarray(done.input)
    np.testing.assert_array_equal(found, found.astype(int))
    rows = [([*row[row > 0]], [*new[new > 0]]) for row, new in zip(tokens, found, strict=True)]
    # Padding stays behind the words.
    for (_, new), row in zip(rows, found, strict=True):
        np.testing.assert_array_equal(row[: len(new)], new)
    return rows, np.asarray(done.distance.value)


def evenly(num=NUM):
    return Distance(group=jnp.zeros(num, jnp.int32), value=jnp.linspace(0, 1, num))


@pytest.mark.parametrize("most", [0.3, 1.0])
def test_masked_words_become_unknown_and_are_counted(most):
    rows, value = move(WordMasking(max_changed=most), sentences(), evenly())
    for (old, new), s, wanted in zip(rows, value, np.linspace(0, 1, NUM), strict=True):
        assert len(new) == len(old) and all(b in (a, 1) for a, b in zip(old, new, strict=True))
        changed, known = sum(a != b for a, b in zip(old, new, strict=True)), sum(a > 1 for a in old)
        assert s == pytest.approx(changed / (most * len(old)), abs=1e-5)
        largest = int(most * len(old) + 1e-6)
        assert abs(changed - min(wanted * most * len(old), largest, known)) < 0.51


@pytest.mark.parametrize("most", [0.3, 1.0])
def test_dropped_words_leave_the_others_in_order(most):
    rows, value = move(WordDropout(max_changed=most), sentences(), evenly())
    for (old, new), s, wanted in zip(rows, value, np.linspace(0, 1, NUM), strict=True):
        rest = iter(old)
        assert new and all(any(a == b for a in rest) for b in new)  # a subsequence
        dropped = len(old) - len(new)
        assert s == pytest.approx(dropped / (most * len(old)), abs=1e-5)
        largest = min(int(most * len(old) + 1e-6), len(old) - 1)
        assert abs(dropped - min(wanted * most * len(old), largest)) < 0.51


@pytest.mark.parametrize("most", [0.5, 1.0])
def test_swapped_words_are_the_same_words(most):
    rows, value = move(WordSwap(max_changed=most), sentences(), evenly())
    for (old, new), s, wanted in zip(rows, value, np.linspace(0, 1, NUM), strict=True):
        assert collections.Counter(old) == collections.Counter(new)
        changed = sum(a != b for a, b in zip(old, new, strict=True))
        assert s == pytest.approx(changed / (most * len(old)), abs=1e-5)
        if len({*old}) == len(old):  # no equal words, so that pairs change both
            largest = int(most * len(old) + 1e-6) // 2 * 2
            assert changed % 2 == 0
            assert abs(changed - min(wanted * most * len(old), largest)) < 1.01


def test_each_word_is_as_likely_as_another():
    tokens = np.full((4000, LENGTH), 5, np.int32)
    tokens[:, 8:] = 0
    distance = Distance(group=jnp.zeros(4000, jnp.int32), value=jnp.full(4000, 0.5))
    rows, value = move(WordMasking(max_changed=0.5), tokens, distance)
    np.testing.assert_allclose(value, 0.5)  # two of eight words
    counts = np.sum([np.array(new) == 1 for _, new in rows], axis=0)
    assert counts.sum() == 8000 and stats.chisquare(counts).pvalue > 0.01


def test_the_operation_is_the_group():
    method = Words(max_changed=1.0)
    drawn = method.draw(jax.random.key(0), 3000)
    assert method.num_groups == 3
    assert stats.chisquare(np.bincount(drawn.group)).pvalue > 0.01
    assert stats.kstest(np.asarray(drawn.value), "uniform").pvalue > 0.01
    group = np.arange(NUM) % 3
    rows, _ = move(method, sentences(), Distance(jnp.asarray(group), jnp.full(NUM, 0.7)))
    for (old, new), operation in zip(rows, group, strict=True):
        if operation == 0:
            assert len(old) == len(new) and {*new} <= {*old, 1}
        elif operation == 1:
            assert len(new) == max(1, len(old) - round(0.7 * len(old)))
        else:
            assert collections.Counter(old) == collections.Counter(new)


def test_distance_zero_changes_nothing():
    for name in ("words", "word_masking", "word_dropout", "word_swap"):
        method = augment.create(helpers.small_config(augment__name=name))
        rows, value = move(method, sentences(), Distance(jnp.zeros(NUM, int), jnp.zeros(NUM)))
        assert all(old == new for old, new in rows) and not value.any()


@pytest.mark.parametrize("name", sorted(augment.TABLE))
def test_other_augmentations_are_refused_by_name(name):
    method = augment.create(helpers.small_config(augment__name=name))
    if name in ("none", "given", "mixup") or name.startswith("word"):
        method.check_input(dataset_of(sentences()).spec)
    else:
        with pytest.raises(ValueError, match=r"augment.name: .*'text'"):
            method.check_input(dataset_of(sentences()).spec)
    if name.startswith("word"):
        with pytest.raises(ValueError, match=f"{name!r} accepts inputs of kind text; got 'image'"):
            method.check_input(helpers.make_dataset().spec)


def test_a_held_out_text_counts_in_the_bucket_of_the_words_that_changed():
    tokens = np.full((20, LENGTH), 5, np.int32)
    tokens[:, 4:] = 0  # of four words 0, 1 or 2 change: distances 0, 1/2 and 1
    config = text_config(augment__name="word_masking", augment__max_changed=0.5, buckets__num=4)
    made = experiment.create(config, dataset_of(tokens), input_pipeline.make_mesh())
    state = experiment.init_state(made, 0, (LENGTH,))
    whole = input_pipeline.put_split(dataset_of(tokens).calibration, made.mesh)
    step = jax.jit(functools.partial(calibration_step.calibration_step, experiment=made))
    count = np.zeros((4, 4))
    for bucket in range(4):
        for i in range(10):
            key = jax.random.fold_in(jax.random.key(i), bucket)
            found = step(state, whole, jnp.arange(20), jnp.full(20, bucket), key)
            count[bucket] += np.asarray(found.count).sum(1)
    # Up to 1/4 rounds to no word, up to 3/4 to one of two words, and above to two.
    expected = np.zeros((4, 4))
    expected[[0, 1, 2, 3], [0, 1, 1, 3]] = 200
    np.testing.assert_array_equal(count, expected)


# Models and mixtures.


def text_config(**fields):
    chosen = {"model__name": "text_mean", "model__width": 64, "batch_size": 8}
    return helpers.small_config(**{**chosen, "crop_pad": 0, "flip": False, **fields})


@pytest.fixture(scope="module", params=["text_mean", "text_transformer"])
def model(request):
    dataset = dataset_of(sentences())
    config, spec = text_config(model__name=request.param), dataset.spec
    made = models.create(config, num_classes=3, spec=spec, mean=dataset.mean, std=dataset.std)
    params, _ = models.init(made, jax.random.key(0), (LENGTH,))
    return jax.jit(lambda x: made.apply({"params": params}, x)), params["net"]


def by_hand(params, words):
    """Logits of text_mean for the tokens of words, in float64."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    table, first, last = (
        params["WordEmbedding_0"]["Embed_0"]["embedding"],
        params["Dense_0"],
        params["Dense_1"],
    )
    mean = np.mean([table[int(token)] for token in words], axis=0)
    hidden = np.maximum(mean @ first["kernel"] + first["bias"], 0)
    return hidden @ last["kernel"] + last["bias"]


def test_padding_has_no_effect(model):
    apply, params = model
    tokens = sentences()[:50].astype(np.float32)
    assert params["WordEmbedding_0"]["Embed_0"]["embedding"].shape == (len(VOCABULARY) + 2, 64)
    expected = apply(tokens)
    if "positions" not in params:  # text_mean: any number of places, and any order
        for row, found in zip(tokens, expected, strict=True):
            np.testing.assert_allclose(found, by_hand(params, row[row > 0]), atol=1e-5)
        wide = np.pad(tokens, ((0, 0), (0, 3)))
        np.testing.assert_allclose(apply(wide), expected, atol=1e-5)
        np.testing.assert_allclose(apply(tokens[:, ::-1]), expected, atol=1e-5)
    else:
        with pytest.raises(AssertionError):
            np.testing.assert_allclose(apply(tokens[:, ::-1]), expected, atol=1e-5)
    # Tokens outside of the vocabulary are unknown words.
    unknown, larger = (np.where(tokens == 5, k, tokens) for k in (1, len(VOCABULARY) + 2))
    np.testing.assert_allclose(apply(larger), apply(unknown), atol=1e-6)


def test_mixtures_of_texts_go_from_one_to_the_other(model):
    apply, params = model
    tokens = image_ops.to_float(jnp.asarray(sentences()[:40]))
    dataset = dataset_of(sentences()[:40])
    method = augment.create(helpers.small_config(augment__name="mixup")).for_data(dataset)
    zero = Distance(jnp.zeros(40, jnp.int32), jnp.zeros(40))
    done = method.apply(jax.random.key(3), batch_of(dataset.train.input), zero)
    assert done.input.shape == (40, LENGTH, 3)
    np.testing.assert_allclose(apply(done.input), apply(tokens), atol=1e-5)
    half = method.apply(
        jax.random.key(3), batch_of(dataset.train.input), zero.replace(value=zero.value + 1)
    )
    np.testing.assert_array_equal(half.second_weight, np.full(40, 0.5))
    partner = np.asarray(half.input[..., 1])
    np.testing.assert_array_equal(half.input[..., 0], tokens)
    for row, label in zip(partner, half.second_label, strict=True):
        places = np.flatnonzero((np.asarray(tokens) == row).all(1))
        assert label in places % 3
    # Half of each text: exchanging them changes nothing.
    exchanged = half.input[..., jnp.array([1, 0, 2])]
    np.testing.assert_allclose(apply(half.input), apply(exchanged), atol=1e-5)
    # The weight of the second text alone.
    whole = half.input.at[..., 2].set(1)
    np.testing.assert_allclose(apply(whole), apply(partner), atol=1e-5)
    if "positions" not in params:
        one, two = np.asarray(tokens)[0], partner[0]
        words = [*one[one > 0], *two[two > 0]]  # each with weight 1/2
        np.testing.assert_allclose(apply(half.input)[0], by_hand(params, words), atol=1e-5)


def test_models_of_other_inputs_are_refused_by_name():
    dataset = dataset_of(sentences())
    for name in ("mlp", "small_cnn", "vit", "cnn1d"):
        with pytest.raises(ValueError, match=f"model.name: '{name}' accepts .*; got 'text'"):
            models.create(
                text_config(model__name=name), num_classes=3, spec=dataset.spec, mean=0.0, std=1.0
            )
    config = text_config(model__name="text_transformer", model__width=40)
    with pytest.raises(ValueError, match="model.width: got 40, must be a multiple of 64"):
        experiment.create(config, dataset, input_pipeline.make_mesh())


def test_tokens_without_words_have_the_largest_token_of_all_splits():
    tokens = sentences()
    low = Split(np.minimum(tokens, 4), *(getattr(dataset_of(tokens).train, name) for name in
                ("label", "distance", "index")))  # fmt: skip
    spec = Dataset("d", low, low, dataset_of(tokens).test, 3, None, 0, 1, kind="text").spec
    assert (spec.low, spec.high) == (0, len(VOCABULARY) + 1)


# Corruptions.


def corrupted(name, severity, encoding="words"):
    dataset = dataset_of(sentences(), encoding)
    transform = corruptions.create_for(dataset, name, severity)
    out = transform(jnp.arange(NUM), jnp.asarray(dataset.test.input))
    assert out.dtype == jnp.int32
    np.testing.assert_array_equal(transform(jnp.arange(7, 9), dataset.test.input[7:9]), out[7:9])
    return np.asarray(out)


@pytest.mark.parametrize("severity", [1, 4])
def test_masking_makes_a_share_of_words_unknown(severity):
    clean, out = sentences(), corrupted("masking", severity)
    np.testing.assert_array_equal(out == 0, clean == 0)
    assert {*out[out != clean]} == {1}
    share = np.mean(out[clean > 1] == 1)
    assert share == pytest.approx(severity / 10, abs=0.03)


def test_typos_are_unknown_or_other_words():
    clean, out = sentences(), corrupted("typos", 5)
    np.testing.assert_array_equal(out == 0, clean == 0)
    word = dict(enumerate(VOCABULARY, start=2))
    moved = {
        (word[a], word.get(b, "?")) for a, b in zip(clean[clean > 1], out[clean > 1]) if a != b
    }
    # 'f' is beside 'd', and 'i' and '!' have one letter or none.
    assert moved <= {(a, "?") for a in VOCABULARY if a not in ("i", "!")} | {
        ("good", "goof"),
        ("goof", "good"),
    }
    assert {("film", "?"), ("straße", "?"), ("don't", "?")} <= moved
    share = np.mean(out[clean == 3] == 1)  # film
    assert share == pytest.approx(0.5, abs=0.08)


def test_a_typo_is_one_step_away():
    assert {*corrupt.neighbours("g")} == {*"tyfhvb"}
    assert {*corrupt.neighbours("q")} == {*"wa"} and corrupt.neighbours("ß") == ""
    rng = random.Random(0)
    made = {corrupt.misspell("film", rng) for _ in range(2000)}
    lost, doubled = {"ilm", "flm", "fim", "fil"}, {"ffilm", "fiilm", "fillm", "filmm"}
    assert lost | doubled | {"iflm", "flim", "fiml"} <= made
    wrong = {word for word in made if len(word) == 4} - {"iflm", "flim", "fiml"}
    for word in wrong:
        ((a, b),) = [(a, b) for a, b in zip("film", word, strict=True) if a != b]
        assert b in corrupt.neighbours(a)
    assert "film" not in made and corrupt.misspell("i", rng) == "i"
    assert all(word != "aa" for word in (corrupt.misspell("aa", rng) for _ in range(50)))


def test_typos_need_words():
    with pytest.raises(ValueError, match="corruption: 'typos' needs the words of 'd'"):
        corrupted("typos", 1, encoding=None)
    with pytest.raises(ValueError, match="corruption: got 'fog', expected one of: typos, masking"):
        corrupted("fog", 1)
