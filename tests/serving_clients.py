"""What the tests of the service share: predictors without a model, and clients of applications."""

import asyncio
import contextlib
import importlib
import io
import pathlib
import re

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from autolabel_jax.predictor import LoadedPredictor

pytest.importorskip("fastapi", reason="the extra [serve] is not installed")
testclient = pytest.importorskip("starlette.testclient", reason="httpx2 is not installed")
app = importlib.import_module("autolabel_jax.serving.app")

HERE = "http://127.0.0.1"
CLASSES = ("ant", "<b>bee</b>", "cat")
FEATURES = {"kind": "features", "shape": [3], "dtype": "float32", "low": -1.0, "high": 1.0}
SOUNDS = {"kind": "audio", "shape": [6], "dtype": "float32", "low": -1.0, "high": 1.0}
CLIPS = {"reads": "audio", "sample_rate": 8000, "resample": False, "peak": True}
CLIPS |= {"samples": 6, "window": 4, "hop": 2, "bands": 1}
COLUMNS = {
    "reads": "columns",
    "kind": "features",
    "columns": [
        {"name": "size", "categories": None, "fill": None},
        {"name": "colour", "categories": ["1", "red"], "fill": None},
    ],
}
PICTURES = {"kind": "image", "shape": [4, 4, 3], "dtype": "uint8", "low": 0.0, "high": 255.0}


def softmax(x):
    shares = np.exp(x - x.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def predictor(program=None, *, spec=FEATURES, encoding=None, batch_size=8) -> LoadedPredictor:
    """A predictor of three classes: softmax of three numbers, or of the mean of each channel."""

    def run(batch):
        values = batch.reshape(len(batch), -1, 3).mean(1).astype(np.float32)
        return {
            "probabilities": softmax(values),
            "calibrated_logits": values,
            "logits": values,
        }

    info = {
        "input": spec,
        "encoding": encoding,
        "preprocessing": {"middle": 1.0},
        "class_names": list(CLASSES),
        "calibrator": {"name": "temperature"},
        "metrics": {},
    }
    return LoadedPredictor(pathlib.Path("fake"), info, batch_size, program or run)


@contextlib.contextmanager
def client(made, **headers):
    """A client whose every answer has a status that the OpenAPI description lists."""
    listed = {
        (method, re.sub(r"\{[^}]*\}", "[^/]+", path)): {*operation["responses"]}
        for path, operations in made.openapi()["paths"].items()
        for method, operation in operations.items()
    }

    def check(response):
        method, path = response.request.method.lower(), response.request.url.path
        for (known, pattern), statuses in listed.items():
            if method == known and re.fullmatch(pattern, path) and response.status_code != 500:
                assert str(response.status_code) in statuses, (method, path, response.status_code)
        if response.status_code >= 400:
            response.read()
            assert list(response.json()) == ["detail"]
            assert "\n" not in response.json()["detail"]

    with testclient.TestClient(made, HERE, raise_server_exceptions=False, headers=headers) as found:
        found.event_hooks["response"].append(check)
        yield found


def of(made=None, **settings):
    """A client of an application with such settings."""
    return client(app.create(made or predictor(), **settings))


def encoded(image, kind="PNG", **options) -> bytes:
    """An image file."""
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        file, kind, **options
    )
    return file.getvalue()


def wav(values, rate=8000) -> bytes:
    """A .wav file."""
    file = io.BytesIO()
    wavfile.write(file, rate, values)
    return file.getvalue()


def file_of(content: bytes, name="file"):
    """Arguments of a request with this file in a form."""
    return {"files": {name: ("a.png", content, "image/png")}}


def raw(made, parts, path="/v1/predict", kind=b"application/json"):
    """Sends the parts of a body one after another, without its length: (status, parts read).

    ``parts`` is an iterator; the client waits for ever after the last one.
    """
    status, read = [], 0

    async def receive():
        nonlocal read
        for part in parts:
            read += 1
            return {"type": "http.request", "body": part, "more_body": True}
        await asyncio.Event().wait()

    async def send(message):
        if message["type"] == "http.response.start":
            status.append(message["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "http_version": "1.1",
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", kind)],
    }
    asyncio.run(asyncio.wait_for(made(scope, receive, send), 20))
    return status[0], read
