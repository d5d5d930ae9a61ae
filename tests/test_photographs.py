"""Files of all kinds become 8-bit RGB: modes, depths and orientations, by hand in NumPy."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image

from autolabel_jax.datasets import photographs

SIZE = 28  # an image of 40 × 32 becomes its own middle
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (32, 40, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (32, 40), dtype=np.uint8)
DEEP = RNG.integers(0, 2**16, (32, 40), dtype=np.uint16)


def encoded(image, form, **settings):
    stream = io.BytesIO()
    image.save(stream, form, **settings)
    return stream.getvalue()


def check(content, expected, atol=0):
    """Evaluation sees the middle of ``expected``, uint8 [32, 40] or [32, 40, 3]."""
    if expected.ndim == 2:
        expected = np.repeat(expected[..., None], 3, axis=-1)
    found = photographs.evaluation_square(content, SIZE).astype(int)
    assert np.abs(found - expected[2:30, 6:34]).max() <= atol
    training = photographs.training_square(content, np.random.RandomState(0), 8)
    assert training.shape == (8, 8, 3) and training.dtype == np.uint8
    assert abs(training.mean() - expected.mean()) < 40


def tiff(bits, data, *, photometric=1, sample_format=1, size=(40, 32)):
    """An uncompressed TIFF of one grey channel, byte by byte."""
    tags = [
        *((256, 3, size[0]), (257, 3, size[1]), (258, 3, bits), (259, 3, 1), (262, 3, photometric)),
        *(
            (273, 4, 8),
            (277, 3, 1),
            (278, 3, size[1]),
            (279, 4, len(data)),
            (339, 3, sample_format),
        ),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    data += bytes(len(data) % 2)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory


def packed_12_bits(values):
    """Pairs of 12-bit values in three bytes, the highest bits first."""
    first, second = values[:, ::2].astype(int), values[:, 1::2].astype(int)
    parts = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
    return np.stack(parts, -1).astype(np.uint8).tobytes()


SIXTEEN_BITS = {
    "PNG": encoded(Image.fromarray(DEEP), "PNG"),
    "TIFF": encoded(Image.fromarray(DEEP), "TIFF"),
    "compressed TIFF": encoded(Image.fromarray(DEEP), "TIFF", compression="tiff_lzw"),
    "big-endian TIFF": encoded(Image.fromarray(DEEP.astype(">u2")), "TIFF"),
    "PGM": b"P5 40 32 65535\n" + DEEP.astype(">u2").tobytes(),
    "JPEG 2000": encoded(Image.fromarray(DEEP), "JPEG2000"),
    "IM": encoded(Image.fromarray(DEEP), "IM"),
}


@pytest.mark.parametrize("content", SIXTEEN_BITS.values(), ids=SIXTEEN_BITS)
def test_sixteen_bits_become_their_higher_eight(content):
    check(content, (DEEP >> 8).astype(np.uint8))


def test_a_tiff_of_twelve_bits_or_with_black_at_the_top():
    twelve = DEEP >> 4
    check(tiff(12, packed_12_bits(twelve)), (twelve >> 4).astype(np.uint8))
    white = tiff(16, DEEP.astype("<u2").tobytes(), photometric=0)
    check(white, 255 - (DEEP >> 8).astype(np.uint8))


def test_a_coloured_png_of_sixteen_bits():
    """Pillow writes none: a PNG by hand, of one row, as high as wide once repeated."""
    import zlib

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    deep = RNG.integers(0, 2**16, (32, 40, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    header = struct.pack(">IIBBBBB", 40, 32, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    check(b"\x89PNG\r\n\x1a\n" + parts, (deep >> 8).astype(np.uint8))


UNDEFINED = {
    "float TIFF": encoded(Image.fromarray(GREY / np.float32(255)), "TIFF"),
    "PFM": b"Pf\n40 32\n-1.0\n" + (GREY / np.float32(255)).astype("<f4").tobytes(),
    "32-bit TIFF": encoded(Image.fromarray(DEEP.astype(np.int32)), "TIFF"),
    "signed 16-bit TIFF": tiff(16, DEEP.astype("<i2").tobytes(), sample_format=2),
    "signed 8-bit TIFF": tiff(8, GREY.tobytes(), sample_format=2),
}


@pytest.mark.parametrize("content", UNDEFINED.values(), ids=UNDEFINED)
def test_values_without_a_defined_range_are_refused(content):
    with pytest.raises(ValueError, match=r"Pillow's mode '[FIL]' in (TIFF|PPM), whose range is"):
        photographs.evaluation_square(content, SIZE)
    with pytest.raises(ValueError, match="convert it to 8 bits"):
        photographs.training_square(content, np.random.RandomState(0), 8)


def test_grey_bilevel_and_palette_images():
    check(encoded(Image.fromarray(GREY), "PNG"), GREY)
    check(tiff(8, GREY.tobytes()), GREY)
    check(tiff(8, GREY.tobytes(), photometric=0), 255 - GREY)
    bits = np.where(GREY > 127, 255, 0).astype(np.uint8)
    check(encoded(Image.fromarray(bits > 0), "PNG"), bits)
    palette = RNG.integers(0, 256, (256, 3), dtype=np.uint8)
    indexed = Image.fromarray(GREY, "L")
    indexed = Image.frombytes("P", indexed.size, indexed.tobytes())
    indexed.putpalette(palette.tobytes())
    check(encoded(indexed, "PNG"), palette[GREY])
    check(encoded(indexed, "PNG", transparency=3), palette[GREY])
    check(encoded(indexed, "TIFF"), palette[GREY])


@pytest.mark.parametrize("form", ["PNG", "TIFF", "TGA"])
def test_alpha_is_dropped(form):
    alpha = GREY[..., None]
    check(encoded(Image.fromarray(np.concatenate([RGB, alpha], -1)), form), RGB)
    check(encoded(Image.fromarray(np.stack([GREY[::-1], GREY], -1)), form), GREY[::-1])


def test_cmyk_is_ink_on_white():
    cmyk = RNG.integers(0, 256, (32, 40, 4), dtype=np.uint8)
    expected = (255 - cmyk[..., :3].astype(int)) * (255 - cmyk[..., 3:].astype(int)) / 255
    check(encoded(Image.fromarray(cmyk, "CMYK"), "TIFF"), np.rint(expected), atol=1)


def test_lab_is_converted():
    # CIE 1976: a grey of lightness L* has the luminance ((L* + 16) / 116)³, then sRGB's curve.
    lab = Image.fromarray(np.stack([GREY, GREY * 0, GREY * 0], -1), "LAB")
    luminance = GREY / 255 * 100
    luminance = np.where(luminance > 8, ((luminance + 16) / 116) ** 3, luminance / 903.3)
    curve = np.where(
        luminance > 0.0031308, 1.055 * luminance ** (1 / 2.4) - 0.055, 12.92 * luminance
    )
    check(encoded(lab, "TIFF"), np.rint(255 * curve), atol=3)


TURNED = {  # orientation → what is stored for an image to be seen upright
    1: lambda upright: upright,
    2: np.fliplr,
    3: lambda upright: np.rot90(upright, 2),
    4: np.flipud,
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: np.rot90(upright, 2).swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", TURNED)
def test_images_are_turned_as_their_orientation_says(orientation, form, tmp_path):
    smooth = Image.fromarray(RGB[:4, :5]).resize((40, 32), Image.Resampling.BICUBIC)
    upright = np.asarray(smooth)
    stored = Image.fromarray(np.ascontiguousarray(TURNED[orientation](upright)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}
    content = encoded(stored, form, exif=exif, **settings.get(form, {}))
    check(content, upright, atol=6 if form == "JPEG" else 0)
    (tmp_path / "image").write_bytes(content)
    assert photographs.check(str(tmp_path / "image")) == (orientation != 1)


def test_a_part_of_a_turned_photograph_is_that_of_the_upright_one():
    """Also of a JPEG that is decoded at a part of its size."""
    smooth = Image.fromarray(RGB[:8, :10]).resize((600, 400), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = smooth.transpose(Image.Transpose.ROTATE_90)
    plain = encoded(smooth, "JPEG", quality=95)
    content = encoded(turned, "JPEG", quality=95, exif=exif)
    for seed in range(8):
        squares = [
            photographs.training_square(c, np.random.RandomState(seed), 40).astype(int)
            for c in (plain, content)
        ]
        assert np.abs(squares[0] - squares[1]).mean() < 2


def test_a_damaged_orientation_is_ignored():
    content = bytearray(
        encoded(Image.fromarray(GREY), "WEBP", lossless=True, exif=b"Exif\0\0nonsense")
    )
    check(bytes(content), GREY)


def test_pipes_devices_and_bombs_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    for name in ("pipe.jpg", "zero.jpg", "missing.jpg", "."):
        with pytest.raises(OSError, match="not a regular file"):
            photographs.evaluation_square(str(tmp_path / name), SIZE)
    with pytest.raises(ValueError, match="sides of 30000 × 100 pixels differ too much"):
        photographs.evaluation_square(encoded(Image.new("1", (30_000, 100)), "PNG"), SIZE)
    bomb = encoded(Image.new("1", (20_000, 20_000)), "PNG")
    with pytest.raises(Exception, match="exceeds limit") as caught:
        photographs.evaluation_square(bomb, SIZE)
    assert "400000000 pixels" in photographs.reason(caught.value)


class TestOpenCV:
    """``decoder='opencv'`` against Pillow's."""

    @pytest.fixture(autouse=True)
    def _opencv(self):
        pytest.importorskip("cv2", reason="OpenCV is not installed")

    def both(self, content, seed, size=24):
        """Squares of both decoders, as int."""
        return (
            photographs.training_square(
                content, np.random.RandomState(seed), size, decoder=decoder
            ).astype(int)
            for decoder in ("pillow", "opencv")
        )

    @pytest.mark.parametrize("side", [40, 90, 160, 400])  # whole, a half and a quarter
    def test_smooth_pictures_agree_within_two_grey_levels(self, side, tmp_path):
        coarse = np.random.default_rng(1).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((side * 5 // 4, side), Image.Resampling.BICUBIC)
        path = tmp_path / "a.jpg"
        path.write_bytes(encoded(picture, "JPEG", quality=95))
        gaps = []
        for seed in range(8):
            pillow, opencv = self.both(str(path), seed)
            assert opencv.shape == (24, 24, 3)
            gaps.append(np.abs(pillow - opencv).mean())
        assert 0 < np.mean(gaps) < 2

    @pytest.mark.parametrize("form", ["PNG", "grey", "CMYK", "turned"])
    def test_other_files_are_left_to_pillow(self, form):
        if form == "turned":
            exif = Image.Exif()
            exif[0x0112] = 6
            content = encoded(Image.fromarray(RGB), "JPEG", exif=exif)
        else:
            mode = {"grey": "L"}.get(form, "CMYK" if form == "CMYK" else "RGB")
            image = Image.fromarray(RGB).convert(mode)
            content = encoded(image, "PNG" if form == "PNG" else "JPEG")
        pillow, opencv = self.both(content, 0)
        np.testing.assert_array_equal(pillow, opencv)

    def test_a_file_that_ends_early_is_an_error_as_with_pillow(self):
        content = encoded(Image.fromarray(RGB), "JPEG")
        for decoder in photographs.DECODERS:
            with pytest.raises(OSError, match="truncated"):
                photographs.training_square(
                    content[:-200], np.random.RandomState(0), 24, decoder=decoder
                )
