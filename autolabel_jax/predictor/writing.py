"""Writes the files of a predictor; its folder appears whole, or not at all."""

import contextlib
import hashlib
import importlib.util
import io
import os
import pathlib
import shutil
import types
import zipfile
from collections.abc import Generator, Mapping
from typing import Any

import safetensors.numpy

from autolabel_jax import audio_ops, files
from autolabel_jax.datasets import tables, texts, waveforms
from autolabel_jax.predictor import standalone
from autolabel_jax.predictor.loading import INFO, PROGRAM, WEIGHTS

SCRIPT, ENCODING, PACKAGE, ONNX = "predict.py", "encoding.py", "flatbuffers.zip", "model.onnx"
# What a predictor's folder holds.
OWN = (INFO, PROGRAM, WEIGHTS, SCRIPT, ENCODING, PACKAGE, ONNX, "__pycache__")
# Modules that import nothing of this library; predict.py makes inputs by a copy of one of them.
READERS = {texts.READS: texts, tables.READS: tables, audio_ops.READS: waveforms}
LEFT_OUT = "flexbuffers.py"  # another format, larger than the rest of the package


def write(
    folder: pathlib.Path,
    program: bytes,
    weights: Mapping[str, Any],
    info: Mapping[str, Any],
    onnx: bytes | None = None,
) -> None:
    """Writes all files; predictor.json gets size and SHA-256 of the others."""
    content = {
        PROGRAM: program,
        WEIGHTS: safetensors.numpy.save(dict(weights)),
        SCRIPT: _source(standalone),
        PACKAGE: _zipped("flatbuffers"),
        **({} if onnx is None else {ONNX: onnx}),
    }
    if "encoding" in info:
        content[ENCODING] = _source(READERS[info["encoding"]["reads"]])
    for name, data in content.items():
        with files.replacing(folder / name) as file:
            file.write(data)
    written = {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in content.items()
    }
    files.write_json(folder / INFO, {**info, "files": written}, checksum=True)


@contextlib.contextmanager
def replacing(folder: pathlib.Path) -> Generator[pathlib.Path]:
    """Makes a temporary folder that takes the place of ``folder`` at the end of the block.

    If the block fails, the temporary folder is removed and ``folder`` stays as it was.

    Raises:
      ValueError: ``folder`` holds anything but a predictor.
    """
    folder = folder.resolve()
    check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    files.remove_leftovers(folder.parent, folder.name)
    temporary = files.temporary_path(folder)
    new, old = temporary / "new", temporary / "old"
    try:
        new.mkdir(parents=True)
        yield new
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(new, folder)
        except OSError:
            if old.exists():
                os.replace(old, folder)
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(folder: pathlib.Path) -> None:
    """Checks that a folder is missing or empty, or holds a predictor and nothing else.

    Raises:
      ValueError: it does not.
    """
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder}: is a file; give a folder, which need not exist")
    held = {path.name for path in folder.iterdir()} if folder.exists() else set()
    others = sorted(held - set(OWN))
    if others or (held and INFO not in held):
        raise ValueError(
            f"{folder}: holds {', '.join(others or sorted(held))}, which an export would remove; "
            "give a folder that is empty or holds a predictor"
        )


def _source(module: types.ModuleType) -> bytes:
    assert module.__file__ is not None
    return pathlib.Path(module.__file__).read_bytes()


def _zipped(package: str) -> bytes:
    """Returns the Python files of an installed package as a zip file, which Python imports from."""
    spec = importlib.util.find_spec(package)
    assert spec is not None, package  # a dependency
    assert spec.origin is not None
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(pathlib.Path(spec.origin).parent.glob("*.py")):
            if path.name != LEFT_OUT:  # ZipInfo has a fixed time, so that equal files are equal
                entry = zipfile.ZipInfo(f"{package}/{path.name}")
                archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)
    return content.getvalue()
