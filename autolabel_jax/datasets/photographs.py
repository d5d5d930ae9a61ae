"""Decodes photographs to uint8 squares, as is usual for ImageNet, with Pillow on the host.

Training uses a resized random part of random shape (Szegedy et al. 2015, "Going
Deeper with Convolutions"), evaluation the middle of the resized image.

Every file becomes 8-bit RGB. 16-bit values v become v >> 8, alpha is dropped (as in torchvision's
ImageFolder), and the EXIF orientation is applied. Values without a defined range (floats, and
integers of 32 bits or with a sign) are refused. Of several frames, the first one is read.
"""

import io
import math
import os
import pathlib

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

PILLOW, OPENCV = DECODERS = ("pillow", "opencv")  # of training
BLURRED = 1.7  # times the square's side, above which OpenCV needs antialiasing
END_OF_JPEG = b"\xff\xd9"
Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
AREA = (0.08, 1.0)  # of a random part, as a share of the image
RATIO = (3 / 4, 4 / 3)  # width / height of a random part
ATTEMPTS = 10  # number of attempts to draw a part that fits into the image
MIDDLE = 0.875  # side of the middle, as a share of the resized image's shorter side

# Modes of Pillow that ``Image.convert`` maps to RGB without loss of range.
EIGHT_BIT = ("1", "L", "P", "RGB", "RGBX", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "LA", "PA")
SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")
SIGNED = 2  # SampleFormat of a TIFF with signed integers, which Pillow reads as unsigned

TURNS = {  # EXIF orientation → the transposition that makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
LONGEST = 200  # longer side over the shorter one, at most; resizing would take much memory
SIDEWAYS = (5, 6, 7, 8)  # orientations that exchange width and height


def training_square(
    encoded: str | bytes, random: np.random.RandomState, size: int, *, decoder: str = PILLOW
) -> np.ndarray:
    """Decodes a random part of a photograph, and resizes it to uint8 [size, size, 3].

    If the part of a JPEG is at least twice as large as the square, it is decoded at a half, a
    quarter or an eighth of its size, which saves most of the time.

    Args:
      encoded: path or content of the file.
      random: random source of the part's size, shape and position.
      size: side of the square in pixels.
      decoder: one of DECODERS. OPENCV reads whole upright RGB files of JPEG, and leaves all others
        to Pillow. It is about twice as fast, and one or two grey levels off.
    """
    with _open(encoded) as image:
        orientation = _to_turn(image)
        width, height = image.size[::-1] if orientation in SIDEWAYS else image.size
        box = random_box(random, width, height)
        left, top, right, bottom = box
        shrink = min(right - left, bottom - top) // size
        plain = image.format == "JPEG" and image.mode == "RGB" and orientation not in TURNS
        if decoder == OPENCV and plain:
            square = _by_opencv(encoded, (width, height), box, shrink, size)
            if square is not None:
                return square
        if shrink > 1:
            image.draft("RGB", (-(-image.width // shrink), -(-image.height // shrink)))
        image = _upright(_rgb(image), orientation)
    box = _scaled(box, image.width / width, image.height / height)
    return np.asarray(image.crop(box).resize((size, size), Image.Resampling.BILINEAR))


def _scaled(box: Box, x: float, y: float) -> Box:
    left, top, right, bottom = box
    return round(left * x), round(top * y), round(right * x), round(bottom * y)


def _by_opencv(
    encoded: str | bytes, sides: tuple[int, int], box: Box, shrink: int, size: int
) -> np.ndarray | None:
    """Decodes a JPEG of these sides, and resizes a part to uint8 [size, size, 3].

    A blur of parts that become much smaller is near Pillow's antialiasing, and much faster. Returns
    None for a file that is not whole, whose rest OpenCV would fill with grey.
    """
    import cv2  # ty: ignore[import-not-found]  # an optional package

    content = pathlib.Path(encoded).read_bytes() if isinstance(encoded, str) else encoded
    if not content.endswith(END_OF_JPEG):
        return None
    cv2.setNumThreads(1)  # the loader has a process for each core
    reduced = cv2.IMREAD_REDUCED_COLOR_2 if shrink < 4 else cv2.IMREAD_REDUCED_COLOR_4
    flag = cv2.IMREAD_COLOR if shrink < 2 else reduced
    buffer = np.frombuffer(content, np.uint8)
    image = cv2.imdecode(buffer, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        return None
    left, top, right, bottom = _scaled(box, image.shape[1] / sides[0], image.shape[0] / sides[1])
    part = image[top:bottom, left:right]
    if max(part.shape) > BLURRED * size:
        part = cv2.GaussianBlur(part, (3, 3), 0)
    square = cv2.resize(part, (size, size), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(square, cv2.COLOR_BGR2RGB)


def evaluation_square(encoded: str | bytes, size: int) -> np.ndarray:
    """Resizes a photograph's shorter side to size / MIDDLE; returns the middle [size, size, 3]."""
    return middle(encoded, size, size, share=MIDDLE)


def middle(encoded: str | bytes, height: int, width: int, *, share: float = 1.0) -> np.ndarray:
    """Decodes a photograph, resizes it, and returns its middle, uint8 [height, width, 3].

    Args:
      encoded: path or content of the file.
      height: height of the result in pixels.
      width: width of the result in pixels.
      share: the result is this share of the resized image, on the side that is cut less.
    """
    with _open(encoded) as image:
        image = _upright(_rgb(image), _to_turn(image))
    tall, wide = round(height / share), round(width / share)
    # The longer side is rounded down, as in torchvision's Resize.
    if image.width * tall > image.height * wide:
        wide = int(tall * image.width / image.height)
    else:
        tall = int(wide * image.height / image.width)
    image = image.resize((wide, tall), Image.Resampling.BILINEAR)
    left, top = round((wide - width) / 2), round((tall - height) / 2)
    return np.asarray(image.crop((left, top, left + width, top + height)))


def grey(image: np.ndarray) -> np.ndarray:
    """Converts uint8 [height, width, 3] to luma, uint8 [height, width, 1]."""
    return np.asarray(Image.fromarray(image).convert("L"))[..., None]


def check(path: str) -> bool:
    """Decodes a file as in training, a JPEG at the smallest size; returns whether EXIF turns it.

    Raises:
      Exception: the file cannot be decoded; Pillow's decoders raise many types.
    """
    with _open(path) as image:
        turned = _orientation(image) in TURNS
        image.draft("RGB", (1, 1))
        _rgb(image)
    return turned


def reason(error: Exception) -> str:
    """Returns in one line why a file could not be decoded."""
    if isinstance(error, UnidentifiedImageError):
        return "no image format that Pillow knows"
    return " ".join(str(error).split()) or type(error).__name__


def random_box(random: np.random.RandomState, width: int, height: int) -> Box:
    """Draws (left, top, right, bottom) of a random part, in pixels.

    The area is uniform in AREA and the ratio is log-uniform in RATIO, as in torchvision's
    RandomResizedCrop. If ATTEMPTS parts do not fit, the result is the largest part in the middle
    with an allowed ratio.
    """
    for _ in range(ATTEMPTS):
        area = width * height * random.uniform(*AREA)
        ratio = math.exp(random.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = random.randint(width - w + 1), random.randint(height - h + 1)
            return left, top, left + w, top + h
    w = min(width, round(height * RATIO[1]))
    h = min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _open(encoded: str | bytes) -> Image.Image:
    if isinstance(encoded, str) and not os.path.isfile(encoded):
        # Reading a pipe or a device could wait for ever.
        raise OSError("it is missing, or not a regular file")
    image = Image.open(encoded if isinstance(encoded, str) else io.BytesIO(encoded))
    if max(image.size) > LONGEST * min(image.size):
        image.close()
        raise ValueError(f"its sides of {image.width} × {image.height} pixels differ too much")
    return image


def _rgb(image: Image.Image) -> Image.Image:
    """Converts an opened file to 8-bit RGB.

    Raises:
      ValueError: the values have no defined range.
    """
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    if image.mode in ("La", "RGBa"):  # colours are multiplied by alpha
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.mode in EIGHT_BIT and SIGNED not in tags.get(ExifTags.Base.SampleFormat, ()):
        return image.convert("RGB")
    # FITS has signed values. Pillow scales those of a PGM file to 16 bits, and says 32.
    if (image.mode in SIXTEEN_BIT and image.format != "FITS") or (
        image.mode == "I" and image.format == "PPM"
    ):
        (bits,) = tags.get(ExifTags.Base.BitsPerSample, (16,))
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
        inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == 0
        return Image.fromarray(255 - grey if inverted else grey).convert("RGB")
    raise ValueError(
        f"its pixels are of Pillow's mode {image.mode!r} in {image.format}, whose range is not "
        "defined; convert it to 8 bits"
    )


def _to_turn(image: Image.Image) -> int:
    """Returns the orientation that decoding leaves to do; Pillow turns TIFFs itself."""
    return 1 if image.format == "TIFF" else _orientation(image)


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF data, of an image that can be decoded
        return 1


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(TURNS[orientation]) if orientation in TURNS else image
