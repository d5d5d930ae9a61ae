"""The basis against numpy.fft, the map on linear models that see one band of frequencies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from autolabel_jax.diagnosis import fourier

KEY = jax.random.key(0)

basis_image = jax.jit(fourier.basis_image, static_argnums=(2, 3))


def all_of_the_basis(height, width):
    """[H, W, H, W], frequencies in the order of numpy.fft."""
    one = lambda i, j: basis_image(i, j, height, width)  # noqa: E731
    rows = jax.vmap(jax.vmap(one, (None, 0)), (0, None))
    return np.asarray(jax.jit(rows)(jnp.arange(height), jnp.arange(width)), np.float64)


def published_basis(height, width):
    """The basis as the published code defines it: (1 ± i)/2 at a frequency and its conjugate.

    Of the two, the one that comes first on the map, whose middle is the frequency 0, has +.
    """
    basis = np.zeros((height, width, height, width))
    middle = np.array([height // 2, width // 2])
    for i, j in np.ndindex(height, width):
        spectrum = np.zeros((height, width), complex)
        other = tuple((2 * middle - (i, j)) % (height, width))
        if other == (i, j):
            spectrum[i, j] = 1
        else:
            first, second = sorted([(i, j), other])
            spectrum[first], spectrum[second] = 0.5 + 0.5j, 0.5 - 0.5j
        image = np.fft.ifft2(np.fft.ifftshift(spectrum)) * np.sqrt(height * width)
        assert abs(image.imag).max() < 1e-12
        basis[i, j] = image.real
    return np.fft.ifftshift(basis, (0, 1))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 5), (6, 9), (1, 4)])
def test_basis_is_the_published_one_of_one_conjugate_pair(height, width):
    basis = all_of_the_basis(height, width)
    np.testing.assert_allclose(basis, published_basis(height, width), atol=1e-6)
    power = abs(np.fft.fft2(basis)) ** 2
    for i, j in np.ndindex(height, width):
        assert np.linalg.norm(basis[i, j]) == pytest.approx(1, abs=1e-6)
        expected = np.zeros((height, width))
        expected[i, j] = expected[-i % height, -j % width] = 1
        np.testing.assert_allclose(
            power[i, j], expected * height * width / expected.sum(), atol=1e-4
        )


def test_half_of_nyquist_moves_every_pixel_alike():
    """A cosine would leave every other column alone."""
    np.testing.assert_allclose(abs(np.asarray(basis_image(0, 8, 4, 32))), 128**-0.5, 1e-5)


def test_different_frequencies_are_orthogonal_and_conjugates_are_one():
    basis = all_of_the_basis(6, 5)
    for i, j in np.ndindex(6, 5):
        overlap = np.tensordot(basis, basis[i, j], 2)
        expected = np.zeros((6, 5))
        expected[i, j] = expected[-i % 6, -j % 5] = 1
        np.testing.assert_allclose(overlap, expected, atol=1e-6)
        np.testing.assert_allclose(basis_image(-i, -j, 6, 5), basis[-i % 6, -j % 5], atol=1e-6)


def test_high_frequencies_of_large_images_are_exact():
    found = np.asarray(basis_image(100, -77, 224, 200), np.float64)
    y, x = np.mgrid[:224, :200]
    # (-100, 77) comes first on the map.
    expected = np.cos(2 * np.pi * (-100 * y / 224 + 77 * x / 200 + 1 / 8))
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-7)


def test_what_is_added():
    images = jax.random.uniform(jax.random.key(1), (200, 8, 6, 3))
    noise = np.asarray(fourier.add_frequency(KEY, images, 2, 1, 3.0) - images, np.float64)
    basis = np.asarray(basis_image(2, 1, 8, 6), np.float64)
    sign = np.einsum("bhwc,hw->bc", noise, basis) / 3
    np.testing.assert_allclose(abs(sign), 1, atol=1e-5)
    np.testing.assert_allclose(noise, 3 * np.round(sign)[:, None, None] * basis[..., None],
                               atol=1e-5)  # fmt: skip
    np.testing.assert_allclose(np.linalg.norm(noise, axis=(1, 2)), 3, atol=1e-5)
    # Fair coins, drawn for every channel by itself: four standard errors of 600 and 200 draws.
    assert abs(sign.mean()) < 4 / np.sqrt(600)
    assert abs((sign[:, 0] * sign[:, 1]).mean()) < 4 / np.sqrt(200)


def seen_by(template, margin, num, channels=1):
    """Images ± margin · template over mid-grey, their labels, and the sign of the template."""
    label = np.arange(num) % 2
    images = 0.5 + margin * (2 * label - 1)[:, None, None, None] * template[None, :, :, None]

    @jax.jit
    def predict(x):
        return (jnp.einsum("bhwc,hw->b", x - 0.5, template) > 0).astype(jnp.int32)

    return np.repeat(images, channels, -1).astype(np.float32), label, predict


@pytest.mark.parametrize("seen", [(0, 1), (-2, 1), (0, 0)])
def test_a_linear_model_errs_where_it_looks(seen):
    """Norm 2 against a margin of 1: wrong for one sign of the two, at that frequency alone."""
    template = np.asarray(basis_image(*seen, 8, 8))
    images, label, predict = seen_by(template, 1.0, 400)
    found = fourier.heat_map(KEY, predict, images, label, norm=2.0)
    assert found.shape == (8, 8)
    places = {(4 + seen[0], 4 + seen[1]), (4 - seen[0], 4 - seen[1])}
    for place in np.ndindex(8, 8):
        expected, tolerance = (0.5, 4 * 0.5 / 20) if place in places else (0, 0)
        assert found[place] == pytest.approx(expected, abs=tolerance), place
    # Below the margin nothing changes anywhere.
    assert not fourier.heat_map(KEY, predict, images, label, norm=0.9).any()


def test_a_model_that_sees_low_frequencies():
    """Its template is the sum of the frequencies up to one cycle; the map is that square."""
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (1, -1)]
    template = sum(np.asarray(basis_image(i, j, 9, 9)) for i, j in pairs)
    images, label, predict = seen_by(template, 0.1, 200)  # score ±0.5, moved by ±1
    found = fourier.heat_map(KEY, predict, images, label, norm=1.0)
    low = np.zeros((9, 9), bool)
    low[3:6, 3:6] = True
    assert (found[low] > 0.3).all() and (found[low] < 0.7).all()
    assert not found[~low].any()
    np.testing.assert_array_equal(found, found[::-1, ::-1])


def test_a_radius_gives_the_middle_of_the_map_and_logits_do_as_labels():
    template = np.asarray(basis_image(1, 1, 8, 6))
    images, label, predict = seen_by(template, 1.0, 50, channels=2)
    whole = fourier.heat_map(KEY, predict, images, label, norm=3.0)
    assert whole.any()
    part = fourier.heat_map(KEY, predict, images, label, norm=3.0, radius=2)
    np.testing.assert_array_equal(part, whole[2:7, 1:6])
    both = lambda x: jnp.stack([1 - predict(x), predict(x)], -1)  # noqa: E731
    again = fourier.heat_map(KEY, both, images, label, norm=3.0, radius=2)
    np.testing.assert_array_equal(again, part)
    centre = fourier.heat_map(KEY, predict, images, label, norm=3.0, radius=0)
    assert centre.shape == (1, 1)


def test_each_pair_of_frequencies_is_measured_once():
    calls = []

    def predict(x):
        calls.append(np.asarray(x))
        return np.zeros(len(x), int)

    fourier.heat_map(KEY, predict, np.zeros((1, 4, 4, 1)), np.zeros(1, int), norm=1.0)
    assert len(calls) == (16 - 4) // 2 + 4  # four frequencies are their own conjugate


def test_counts_batches_without_padding_and_compiles_once():
    """Half of a map, then the rest, in two batches: as all at once, but for the signs."""
    template = np.asarray(basis_image(1, 0, 6, 6))
    images, label, predict = seen_by(template, 1.0, 60)
    mask = np.arange(40) < 30  # the last 10 of each batch are padding, with labels that are wrong
    batches = []
    for rows in (slice(0, 30), slice(30, 60)):
        padded = np.pad(images[rows], ((0, 10), (0, 0), (0, 0), (0, 0)))
        batches.append((padded, np.append(label[rows], [7] * 10), mask))
    chosen = fourier.frequencies(6, 6)
    assert sorted(chosen) == sorted({min((i, j), (-i % 6, -j % 6)) for i, j in np.ndindex(6, 6)})
    compiled = fourier.add_frequency._cache_size()
    wrong = np.concatenate(
        [fourier.count_errors(KEY, predict, batches, part, norm=2.0)
         for part in (chosen[:7], chosen[7:])]
    )  # fmt: skip
    assert predict._cache_size() == 1 and fourier.add_frequency._cache_size() == compiled + 1
    by_frequency = dict(zip(chosen, wrong))
    assert abs(by_frequency.pop((1, 0)) - 30) < 4 * np.sqrt(15)
    assert not any(by_frequency.values())
    found = fourier.assemble(dict(zip(chosen, wrong)), 6, 6)
    assert np.argwhere(found).tolist() == [[2, 3], [4, 3]]  # ±1 about the middle, (3, 3)
    with pytest.raises(ValueError, match="norm: got -1"):
        fourier.count_errors(KEY, predict, batches, chosen, norm=-1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": np.zeros((4, 4, 1))}, r"images: got shape \(4, 4, 1\)"),
        ({"label": np.zeros(3, int)}, r"labels \(3,\)"),
        ({"norm": 0.0}, "norm: got 0.0, must be positive"),
        ({"radius": 2}, r"radius: got 2, must be 0 to 1 for 4 pixels"),
        ({"radius": -1}, "radius: got -1"),
    ],
)
def test_refuses_what_does_not_fit(settings, message):
    values = {"images": np.zeros((2, 4, 4, 1)), "label": np.zeros(2, int), "norm": 1.0, **settings}
    images, label = values.pop("images"), values.pop("label")
    with pytest.raises(ValueError, match=message):
        fourier.heat_map(KEY, lambda x: np.zeros(len(x), int), images, label, **values)
