"""Loads a predictor: checks its files, and makes a function of inputs."""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.export
import numpy as np
import safetensors.numpy
from numpy.typing import ArrayLike

from autolabel_jax import audio_ops, files
from autolabel_jax.datasets import manifest_rows, photographs, tables, texts, waveforms

INFO, PROGRAM, WEIGHTS = "predictor.json", "program.jax", "weights.safetensors"
FORMAT = 1  # of the folder; raised when an older version of this library cannot read it
READ_AS_SOUND = (np.int16, np.float32, np.float64)  # types of waveforms
BATCH_SIZE = 64  # inputs at once
AGAIN = "copy the whole folder again, or export it again"


class Outputs(NamedTuple):
    """Holds what a predictor computes of n inputs."""

    probabilities: np.ndarray  # float32 [n, K], calibrated
    calibrated_logits: np.ndarray  # float32 [n, K], whose softmax they are
    logits: np.ndarray  # float32 [n, K], of the model, before calibration


@dataclasses.dataclass(frozen=True)
class LoadedPredictor:
    """Maps inputs to calibrated probabilities.

    Attributes:
      folder: folder that it was loaded from.
      info: content of predictor.json.
      batch_size: most inputs at once.
    """

    folder: pathlib.Path
    info: dict[str, Any]
    batch_size: int
    _program: Callable[[np.ndarray], dict[str, jax.Array]]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the K classes, in the order of the probabilities."""
        return tuple(self.info["class_names"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.info["input"]["shape"])

    @property
    def encoding(self) -> dict[str, Any] | None:
        """How stored values become inputs, see ``datasets.Dataset``; None if they are inputs."""
        return self.info.get("encoding")

    @property
    def reads_pictures(self) -> bool:
        """Whether inputs are images that ``read_picture`` makes of files."""
        spec = self.info["input"]
        return (spec["kind"], spec["dtype"]) == ("image", "uint8") and self.shape[-1] in (1, 3)

    @property
    def reads_texts(self) -> bool:
        """Whether inputs are tokens that ``encode_texts`` makes of texts."""
        return self.encoding is not None and self.encoding["reads"] == texts.READS

    @property
    def reads_sounds(self) -> bool:
        """Whether inputs are waveforms that ``read_sound`` makes of files."""
        return audio_ops.front_end(self.encoding) is not None

    @property
    def reads_rows(self) -> bool:
        """Whether inputs are what ``encode`` makes of the columns of a table."""
        return self.encoding is not None and self.encoding["reads"] == tables.READS

    def __call__(self, inputs: ArrayLike) -> np.ndarray:
        """Returns the probabilities float32 [n, K] of a batch of inputs [n, ...].

        Waveforms can be int16 or floats of any length, and are padded with zeros or cut.

        Raises:
          ValueError: shape or type of the inputs are not those of ``info["input"]``, or a float is
            not finite.
        """
        return self.outputs(inputs).probabilities

    def outputs(self, inputs: ArrayLike) -> Outputs:
        """Returns probabilities, and logits before and after calibration; see ``__call__``."""
        batch = self.check(np.asarray(inputs))
        parts = [np.zeros((3, 0, len(self.class_names)), np.float32)]
        for start in range(0, len(batch), self.batch_size):
            part = batch[start : start + self.batch_size]
            # Sizes are powers of two, so that few programs are compiled.
            size = min(1 << (len(part) - 1).bit_length(), self.batch_size)
            padded = np.concatenate([part, np.repeat(part[:1], size - len(part), axis=0)])
            found = jax.device_get(self._program(padded))
            parts.append(np.stack([found[name][: len(part)] for name in Outputs._fields]))
        return Outputs(*np.concatenate(parts, axis=1))

    def read_picture(self, encoded: str | bytes) -> np.ndarray:
        """Decodes an image file to an input, uint8 [height, width, channels].

        Args:
          encoded: path or content of the file.

        Raises:
          ValueError: inputs are no images of 8 bits.
          Exception: the file cannot be decoded; Pillow's decoders raise many types.
        """
        if not self.reads_pictures:
            raise ValueError(f"{self.folder}: takes {self._expected()}, which are no image files")
        height, width, channels = self.shape
        share = self.info["preprocessing"]["middle"]
        image = photographs.middle(encoded, height, width, share=share)
        return image if channels == 3 else photographs.grey(image)

    def read_sound(self, encoded: str | bytes) -> np.ndarray:
        """Reads a sound file as an input, float32 [samples]; see ``datasets.waveforms.clip``.

        Args:
          encoded: path or content of the file.

        Raises:
          ValueError: the file is no clip that the model can take.
          OSError: it cannot be opened.
        """
        assert self.encoding is not None
        return waveforms.clip(encoded, self.encoding)

    def read_table(self, path: pathlib.Path) -> np.ndarray:
        """Reads the rows of a .csv, .parquet or other table as inputs [n, ...], see ``encode``."""
        return self.encode(f"{path}", tables.load(path, "--data"))

    def encode(self, where: str, columns: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """Makes inputs [n, ...] of columns of a table, by name.

        Args:
          where: what holds the columns, for messages.
          columns: the columns of features or texts of the training table, or ``input``, lists of
            numbers; other columns are not read.

        Raises:
          ValueError: a column is missing, or holds values that the model cannot take.
        """
        if self.encoding is not None and not self.reads_sounds:
            reader = texts if self.reads_texts else tables
            return reader.encode(where, columns, self.encoding)
        if "input" not in columns:
            raise ValueError(f"{where}: has no column 'input'; it has {', '.join(columns)}")
        return self.check(manifest_rows.inputs(where, columns["input"]))

    def encode_texts(self, where: str, given: Sequence[str]) -> np.ndarray:
        """Makes inputs, tokens int32 [n, L], of texts.

        Args:
          where: where the texts are from, for messages.
          given: texts.

        Raises:
          ValueError: the model takes no texts, or a text has no words.
        """
        if self.encoding is None or not self.reads_texts:
            raise ValueError(f"{where}: {self.folder} takes {self._expected()}, and no texts")
        return texts.encode(where, {self.encoding["columns"][0]["name"]: given}, self.encoding)

    def _expected(self) -> str:
        spec = self.info["input"]
        sides = ", ".join(map(str, self.shape))
        return f"{spec['dtype']} [n, {sides}] from {spec['low']:g} to {spec['high']:g}"

    def check(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the inputs [n, ...] in the type of the program.

        Raises:
          ValueError: as ``__call__``.
        """
        if self.reads_sounds and inputs.ndim == 2 and inputs.dtype in READ_AS_SOUND:
            assert self.encoding is not None
            inputs = waveforms.many(inputs, self.encoding)
        wanted = np.dtype(self.info["input"]["dtype"])
        both_floats = wanted.kind == "f" and inputs.dtype.kind == "f"
        if inputs.shape[1:] != self.shape or not (inputs.dtype == wanted or both_floats):
            one = "; for one input, give inputs[None]" if inputs.shape == self.shape else ""
            raise ValueError(
                f"inputs: got {inputs.dtype} {list(inputs.shape)}, expected {self._expected()}{one}"
            )
        inputs = inputs.astype(wanted, copy=False)
        finite = np.isfinite(inputs).all(axis=tuple(range(1, inputs.ndim)))
        if not finite.all():
            raise ValueError(f"inputs: input {finite.argmin()} holds a number that is not finite")
        spec = self.info["input"]
        known = (inputs >= spec["low"]) & (inputs <= spec["high"])
        if spec["kind"] == "text" and not known.all():
            raise ValueError(f"inputs: got unknown tokens, expected {self._expected()}")
        return inputs


def load(folder: str | pathlib.Path, *, batch_size: int = BATCH_SIZE) -> LoadedPredictor:
    """Loads a predictor, after a check of the SHA-256 of all its files.

    Args:
      folder: folder that ``exporting.export`` wrote.
      batch_size: most inputs at once; the memory that a call takes grows with it.

    Raises:
      FileNotFoundError: there is no predictor, or one of its files is missing.
      ValueError: a file was changed, or is newer than this jax or this library can read.
    """
    folder = pathlib.Path(folder)
    info = _read_info(folder)
    _check_files(folder, info)
    weights = jax.device_put(safetensors.numpy.load((folder / WEIGHTS).read_bytes()))
    program = jax.jit(_deserialize(folder / PROGRAM, info["oldest_jax"]).call)
    return LoadedPredictor(folder, info, batch_size, functools.partial(program, weights))


def _read_info(folder: pathlib.Path) -> dict[str, Any]:
    if not (folder / INFO).is_file():
        from autolabel_jax.run_dir import RunDir  # slow, and not needed to predict

        raise FileNotFoundError(
            f"{folder}: found no {INFO} there; "
            + (
                f"it is a run: export it with `autolabel export --run={folder} --out=FOLDER`"
                if RunDir(folder).is_claimed
                else "give a folder that `autolabel export` wrote"
            )
        )
    info = files.read_json(folder / INFO)
    if info.get("format") != FORMAT:
        raise ValueError(
            f"{folder / INFO}: has format {info.get('format')!r}, expected {FORMAT}; use the "
            "version of autolabel_jax that wrote it, or a newer one"
        )
    return info


def _check_files(folder: pathlib.Path, info: dict[str, Any]) -> None:
    for name, written in info["files"].items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path}: is missing; {AGAIN}")
        if hashlib.sha256(path.read_bytes()).hexdigest() != written["sha256"]:
            raise files.DamagedError(path, f"was changed: its SHA-256 is another one; {AGAIN}")
    if _numbers(jax.__version__) < _numbers(info["oldest_jax"]):
        raise ValueError(
            f"{folder / PROGRAM}: needs jax {info['oldest_jax']} or newer, this is "
            f"{jax.__version__}; update jax, or export with this version"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3] if part.isdigit())


def _deserialize(path: pathlib.Path, written_by: str) -> jax.export.Exported:
    try:
        return jax.export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # of many types, if a later jax no longer reads it
        raise ValueError(
            f"{path}: jax {jax.__version__} cannot read what jax {written_by} wrote "
            f"({' '.join(str(error).split())}); export it again with this version"
        ) from error
