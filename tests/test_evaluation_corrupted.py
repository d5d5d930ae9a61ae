"""Sets are those of ``corruptions``, made once for the same test images."""

import numpy as np
import pytest

from autolabel_jax import corruptions, input_pipeline
from autolabel_jax.datasets import Split
from autolabel_jax.evaluation import corrupted

MESH = input_pipeline.make_mesh()


def split(seed, num=10):
    image = np.random.default_rng(seed).integers(0, 256, (num, 32, 32, 3), dtype=np.uint8)
    return Split(input=image, label=np.zeros(num, np.int32), distance=None, index=np.arange(num))


def take(test, name="gaussian_noise", severity=2):
    whole = input_pipeline.put_split(test, MESH)
    return corrupted.sets_of(test, MESH).take(name, severity, whole, 8, MESH)


@pytest.mark.parametrize("name", ["gaussian_noise", "contrast"])
def test_a_set_is_what_the_corruption_makes_of_all_images_at_once(name):
    """Batches of 8 of 10 images: what is drawn depends on an image's place alone."""
    test = split(0)
    transform = corruptions.create(name, 2, size=32)
    expected = np.asarray(transform(np.arange(10, dtype=np.int32), test.input))
    found = take(test, name)
    np.testing.assert_array_equal(found.input, expected)
    np.testing.assert_array_equal(found.label, test.label)
    assert (expected != test.input).any()


def test_the_same_images_in_another_split_find_the_set_made():
    assert take(split(0)).input is take(split(0)).input


def test_what_is_forgotten_is_made_again():
    first = take(split(0)).input
    corrupted.forget()
    assert corrupted.sets_of(split(0), MESH).num_bytes == 0
    again = take(split(0)).input
    assert again is not first
    np.testing.assert_array_equal(again, first)


def test_other_images_severities_and_corruptions_do_not():
    sets = [take(split(0)), take(split(1)), take(split(1), severity=3), take(split(1), "fog")]
    images = [np.asarray(found.input) for found in sets]
    for i, image in enumerate(images):
        assert not any((image == other).all() for other in images[:i])


def test_what_is_beyond_the_limit_is_made_each_time(monkeypatch):
    one = split(2).input.nbytes
    monkeypatch.setattr(corrupted, "MOST_BYTES", one)
    first, second = take(split(2)), take(split(2), severity=3)
    assert take(split(2)).input is first.input
    again = take(split(2), severity=3)
    assert again.input is not second.input
    np.testing.assert_array_equal(again.input, second.input)
    assert corrupted.sets_of(split(2), MESH).num_bytes == one
