"""Reads an input of the predictor from a request, within limits.

A request holds a file (``multipart/form-data``) or JSON: ``{"image": base64}``,
``{"sound": base64}``, ``{"text": text}``, ``{"row": values by column}`` or ``{"input": numbers}``.
Bytes are counted as they arrive, and pixels are counted before they are decoded.
"""

import base64
import binascii
import dataclasses
import functools
import io
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import numpy as np
import pydantic
import pydantic_core
from fastapi import HTTPException, Request
from PIL import Image
from starlette.formparsers import MultiPartException, MultiPartParser

from autolabel_jax.datasets import photographs, waveforms
from autolabel_jax.predictor import LoadedPredictor

FORMATS = ("PNG", "JPEG", "WEBP")
# Of sounds: highest sample rate, and longest time. Resampling takes memory with both.
MOST_RATE, MOST_SECONDS = 384_000, 600
JSON, FORM = "application/json", "multipart/form-data"
FILE = "file"  # name of the file in a form
LARGEST = float(np.finfo(np.float32).max)
Whole = Annotated[int, pydantic.Field(ge=-(2**63), lt=2**63)]


@dataclasses.dataclass(frozen=True)
class Limits:
    """Holds the limits of requests.

    Attributes:
      num_bytes: most bytes of a body.
      pixels: most pixels of an image.
      waiting: most requests for predictions at once.
      seconds: longest time from the start of a request to its answer.
    """

    num_bytes: int = 8 * 2**20
    pixels: int = 20_000_000
    waiting: int = 256
    seconds: float = 10.0


class Picture(pydantic.BaseModel):
    """An image file in base64."""

    model_config = pydantic.ConfigDict(extra="forbid")
    image: str = pydantic.Field(json_schema_extra={"contentEncoding": "base64"})


class Sound(pydantic.BaseModel):
    """A .wav file in base64."""

    model_config = pydantic.ConfigDict(extra="forbid")
    sound: str = pydantic.Field(json_schema_extra={"contentEncoding": "base64"})


class Row(pydantic.BaseModel):
    """A row of a table, by the names of its columns."""

    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    row: dict[str, bool | Whole | float | str | None]


class Text(pydantic.BaseModel):
    """A text."""

    model_config = pydantic.ConfigDict(extra="forbid")
    text: str = pydantic.Field(strict=True)


async def counted(request: Request, most: int) -> AsyncGenerator[bytes]:
    """Yields the parts of a body as they arrive.

    Raises:
      HTTPException: they are more than ``most`` bytes.
    """
    total = 0
    async for part in request.stream():
        total += len(part)
        if total > most:
            raise HTTPException(413, f"the body has more than {most} bytes")
        yield part


async def read_json(request: Request, most: int) -> dict[str, Any]:
    """Reads a JSON object.

    Raises:
      HTTPException: the body is something else, or too large.
    """
    if media_type(request) != JSON:
        raise HTTPException(415, f"Content-Type: got {media_type(request)!r}, expected {JSON!r}")
    body = b"".join([part async for part in counted(request, most)])
    try:
        value = pydantic_core.from_json(body)
    except ValueError as error:
        raise HTTPException(400, f"the body is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise HTTPException(422, "the body: expected a JSON object")
    return value


async def read_file(request: Request, most: int) -> bytes:
    """Reads the file of a form.

    Raises:
      HTTPException: there is none, or the body is too large.
    """
    parser = MultiPartParser(request.headers, counted(request, most), max_files=1, max_fields=0)
    parser.spool_max_size = most  # in memory
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400, f"the form cannot be read: {error.message}") from error
    file = form.get(FILE)
    if file is None or isinstance(file, str):
        raise HTTPException(422, f"the form has no file named {FILE!r}")
    try:
        return await file.read()
    finally:
        await file.close()


def media_type(request: Request) -> str:
    """Returns the type of the body, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read(request: Request, predictor: LoadedPredictor, most: int) -> bytes | dict[str, Any]:
    """Reads the content of an image or sound file, or a JSON object.

    Raises:
      HTTPException: the body is something else, or too large.
    """
    if media_type(request) == FORM and (predictor.reads_pictures or predictor.reads_sounds):
        return await read_file(request, most)
    return await read_json(request, most)


def decode(content: bytes | dict[str, Any], predictor: LoadedPredictor, pixels: int) -> np.ndarray:
    """Returns one input of the predictor.

    Args:
      content: from ``read``.
      predictor: predictor that takes the input.
      pixels: most pixels of an image.

    Raises:
      HTTPException: it is no input.
    """
    if isinstance(content, bytes):
        return _file(content, predictor, pixels)
    if "image" in content and predictor.reads_pictures:
        return _file(_unpacked("image", parse(Picture, content).image), predictor, pixels)
    if "sound" in content and predictor.reads_sounds:
        return _file(_unpacked("sound", parse(Sound, content).sound), predictor, pixels)
    try:  # here, as a batch holds the inputs of several requests
        if "text" in content and predictor.reads_texts:
            return predictor.encode_texts("text", [parse(Text, content).text])[0]
        if "row" in content and predictor.reads_rows:
            row = parse(Row, content).row
            return predictor.encode("row", {name: [value] for name, value in row.items()})[0]
        values = parse(numbers(predictor.shape, predictor.info["input"]["dtype"]), content)
        return predictor.check(np.array([values.input], predictor.info["input"]["dtype"]))[0]
    except ValueError as error:
        raise HTTPException(422, " ".join(str(error).split())) from error


def _file(content: bytes, predictor: LoadedPredictor, pixels: int) -> np.ndarray:
    if predictor.reads_sounds:
        return sound(content, predictor)
    return picture(content, predictor, pixels)


def _unpacked(field: str, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise HTTPException(422, f"{field}: is no base64: {error}") from error


def picture(encoded: bytes, predictor: LoadedPredictor, pixels: int) -> np.ndarray:
    """Decodes an image file to an input of the predictor.

    Raises:
      HTTPException: the file is of another format, too large, or damaged.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            width, height = image.size
    except Exception as error:  # decoders of damaged files raise many types
        raise HTTPException(415, f"the file is no image of {', '.join(FORMATS)}") from error
    if width * height > pixels:
        raise HTTPException(413, f"{width} × {height} pixels: at most {pixels} are decoded")
    try:
        return predictor.read_picture(encoded)
    except Exception as error:
        raise HTTPException(422, f"not decoded: {photographs.reason(error)}") from error


def sound(encoded: bytes, predictor: LoadedPredictor) -> np.ndarray:
    """Reads a .wav file as an input of the predictor.

    Raises:
      HTTPException: the file is of another format, too long, or no clip that the model can take.
    """
    if encoded[:4] not in waveforms.WAV:
        raise HTTPException(415, "the file is no .wav file")
    try:
        values, rate = waveforms.decode(encoded)
        if rate > MOST_RATE or len(values) > MOST_SECONDS * rate:
            raise HTTPException(
                413,
                f"{len(values) / rate:.3g} seconds of {rate} samples: at most {MOST_SECONDS} "
                f"seconds of {MOST_RATE} are read",
            )
        return predictor.read_sound(encoded)
    except ValueError as error:
        raise HTTPException(422, f"the file {waveforms.reason(error)}") from error


def parse(model: type[pydantic.BaseModel], value: Any) -> Any:
    """Returns the fields of a JSON object.

    Raises:
      HTTPException: they are not those of the model.
    """
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        raise HTTPException(422, first(error.errors())) from error


def first(errors: Any) -> str:
    """Returns the first of Pydantic's errors in one line."""
    where = ".".join(map(str, errors[0]["loc"]))
    return " ".join(f"{where}: {errors[0]['msg']}".split())


@functools.cache
def numbers(shape: tuple[int, ...], dtype: str) -> type[pydantic.BaseModel]:
    """Makes the model ``{"input": nested lists of numbers}`` of one shape."""
    kind: Any = Annotated[float, pydantic.Field(strict=True, ge=-LARGEST, le=LARGEST)]
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        kind = Annotated[int, pydantic.Field(strict=True, ge=limits.min, le=limits.max)]
    for size in reversed(shape):
        kind = Annotated[list[kind], pydantic.Field(min_length=size, max_length=size)]
    forbid = pydantic.ConfigDict(extra="forbid")
    return pydantic.create_model("Numbers", __config__=forbid, input=(kind, ...))


def described(predictor: LoadedPredictor) -> dict[str, Any]:
    """Returns the OpenAPI description of the body of a prediction."""
    choices = [numbers(predictor.shape, predictor.info["input"]["dtype"]).model_json_schema()]
    content = {}
    if predictor.reads_pictures or predictor.reads_sounds:
        file = {"type": "string", "contentMediaType": "application/octet-stream"}
        form = {"type": "object", "properties": {FILE: file}, "required": [FILE]}
        content[FORM] = {"schema": form | {"additionalProperties": False}}
        choices.insert(0, (Sound if predictor.reads_sounds else Picture).model_json_schema())
    if predictor.reads_texts:
        choices.insert(0, Text.model_json_schema())
    if predictor.reads_rows:
        choices.insert(0, Row.model_json_schema())
    content[JSON] = {"schema": {"anyOf": choices}}
    return {"required": True, "content": content}
