"""The command ``autolabel serve`` as a process: its page in Chromium, load, jobs, schemathesis."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor

import chromium
import helpers
import hypothesis
import numpy as np
import predictor_folders
import pyarrow
import pytest
import serving_clients as clients
from PIL import Image
from pyarrow import parquet

import autolabel_jax
from autolabel_jax import files
from autolabel_jax.commands import main

pytestmark = pytest.mark.slow

REQUESTS, CLIENTS = 10_000, 16
GROWTH = 32 * 2**20  # bytes of memory that caches and the allocator may take


@contextlib.contextmanager
def served(*arguments, token=""):
    """Starts the command; yields its address and process, and ends it as a terminal does."""
    command = [sys.executable, "-m", "autolabel_jax.commands.main", "serve", "--port=0"]
    command.append(f"--model={predictor_folders.digits()[1]}")
    process = subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=helpers.ROOT,
        env=helpers.environment() | {"AUTOLABEL_TOKEN": token},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+:\d+", line)
        assert found, line
        yield found[0], process
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()


def ask(url, data=None, method=None, **headers):
    """JSON answer of a request."""
    body = None if data is None else json.dumps(data).encode()
    headers |= {} if data is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "a.png"
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    path.write_bytes(clients.encoded(image))
    return path


# --- the page ------------------------------------------------------------------------------------


@pytest.fixture
def page(tmp_path):
    with chromium.page(tmp_path / "chromium") as found:
        yield found


def bars(page):
    """Rows of the page: class, width of the bar in pixels, per cent."""
    page.until("!document.getElementById('result').hidden")
    return page.run(
        "[...document.querySelectorAll('#bars tr')].map((row) => [row.children[0].textContent,"
        "row.querySelector('.bar').getBoundingClientRect().width, row.children[2].textContent])"
    )


def assert_shown(found, predictor, path):
    """The bars are the probabilities of the predictor."""
    expected = predictor(predictor.read_picture(str(path))[None])[0]
    order = np.argsort(-expected, kind="stable")
    assert [row[0] for row in found] == [predictor.class_names[k] for k in order]
    assert [row[2] for row in found] == [f"{100 * expected[k]:.1f} %" for k in order]
    widths = np.array([row[1] for row in found])
    np.testing.assert_allclose(widths / widths.sum(), expected[order], atol=5e-3)


def test_a_picture_that_is_dropped_is_shown_with_calibrated_bars(page, picture, tmp_path):
    predictor = autolabel_jax.load_predictor(predictor_folders.digits()[1])
    with served() as (url, _):
        page.open(f"{url}/")
        page.until("document.getElementById('model').textContent")
        assert "10 classes, calibrator temperature; accuracy" in page.run("document.body.innerText")
        page.drop("#drop", picture)
        assert_shown(bars(page), predictor, picture)
        assert page.run("document.getElementById('shown').naturalWidth") == 64
        bad = tmp_path / "text.png"
        bad.write_text("no image")
        page.drop("#drop", bad)
        page.until("document.getElementById('status').textContent.startsWith('Not classified')")
        text = page.run("document.getElementById('status').textContent")
        assert text == "Not classified: the file is no image of PNG, JPEG, WEBP"
        assert page.run("document.getElementById('result').hidden")
        # The browser fetches nothing but from the service.
        names = page.run("performance.getEntriesByType('resource').map((one) => one.name)")
        assert {name.startswith((url, "blob:")) for name in names} == {True}
        said = [entry for entry in page.log if entry["entry"]["level"] not in ("verbose", "info")]
        assert ["415" in entry["entry"]["text"] for entry in said] == [True]


def test_the_page_works_by_keyboard_and_with_a_token(page, picture):
    predictor = autolabel_jax.load_predictor(predictor_folders.digits()[1])
    focused = "document.activeElement.id"
    with served(token="secret") as (url, _):
        page.open(f"{url}/")
        page.until("!document.getElementById('ask').hidden")
        page.press("Tab")
        assert page.run(focused) == "token"
        page.write("secret")
        page.press("Tab")
        assert page.run(focused) == "file"
        page.until("document.getElementById('model').textContent")
        page.choose("#file", picture)
        assert_shown(bars(page), predictor, picture)


def test_names_of_classes_are_text(page, tmp_path):
    folder = shutil.copytree(predictor_folders.digits()[1], tmp_path / "predictor")
    names = [f"<img src=x onerror=document.title={k}>" for k in range(10)]
    info = files.read_json(folder / "predictor.json") | {"class_names": names}
    files.write_json(folder / "predictor.json", info)
    Image.new("RGB", (32, 32)).save(tmp_path / "a.png")
    with served(f"--model={folder}") as (url, _):
        page.open(f"{url}/")
        page.drop("#drop", tmp_path / "a.png")
        assert {row[0] for row in bars(page)} == {*names}
        assert page.run("document.title") == "autolabel"
        assert page.run("document.querySelectorAll('#bars img').length") == 0


# --- the description -----------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "secret"])
def test_schemathesis_finds_no_answer_that_is_not_described(token, tmp_path):
    pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    (tmp_path / "data").mkdir()
    jobs = [f"--data_root={tmp_path / 'data'}", f"--jobs={tmp_path / 'jobs'}"]
    with served(*jobs, token=token) as (url, _):
        command = [sys.executable, "-m", "schemathesis.cli", "--no-color", "run"]
        command += [f"{url}/openapi.json", "--max-examples=50", "--checks=all", "--seed=1"]
        # No schema says which text is an image, or which files are below the data root.
        command += ["--exclude-checks=positive_data_acceptance", "--generation-database=none"]
        command += [f"--header=Authorization: Bearer {token}"] if token else []
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        assert " 9 selected / 9 total" in done.stdout
        assert ask(f"{url}/healthz") == {"status": "ok"}


def test_all_numbers_that_the_description_allows_are_classified():
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    with clients.of() as client:
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())

        @hypothesis.given(case=schema["/v1/predict"]["POST"].as_strategy())
        @hypothesis.settings(max_examples=200, deadline=None, database=None)
        def classify(case):
            assert client.post("/v1/predict", json=case.body).status_code == 200, case.body

        classify()


# --- load ----------------------------------------------------------------------------------------


def memory(url):
    """Resident memory of the service in bytes."""
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        found = re.search(r"^process_resident_memory_bytes (\S+)$", answer.read().decode(), re.M)
    return float(found[1])


def form(content):
    """Body and type of a form with a file."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def test_many_requests_neither_fail_nor_grow_the_memory(picture, capsys):
    body, headers = form(picture.read_bytes())

    def client(count):
        seconds, statuses = [], set()
        connection = http.client.HTTPConnection(host, timeout=30)
        for _ in range(count):
            start = time.perf_counter()
            connection.request("POST", "/v1/predict", body, headers)
            answer = connection.getresponse()
            answer.read()
            seconds.append(time.perf_counter() - start)
            statuses.add(answer.status)
        connection.close()
        return seconds, statuses

    def load(count):
        with ThreadPoolExecutor(CLIENTS) as pool:
            found = list(pool.map(client, [count // CLIENTS] * CLIENTS))
        assert set().union(*(statuses for _, statuses in found)) == {200}
        return np.concatenate([seconds for seconds, _ in found])

    with served() as (url, _):
        host = url.removeprefix("http://")
        load(1600)  # the allocator reaches its usual size
        before, start = memory(url), time.perf_counter()
        seconds = load(REQUESTS)
        rate, after = REQUESTS / (time.perf_counter() - start), memory(url)
    middle, late = np.quantile(seconds, [0.5, 0.99])
    with capsys.disabled():
        print(
            f"\n{len(seconds)} requests, {rate:.0f}/s, p50 {1e3 * middle:.0f} ms, p99 "
            f"{1e3 * late:.0f} ms, memory {before / 2**20:.0f} to {after / 2**20:.0f} MiB"
        )
    assert len(seconds) == REQUESTS and late < 10
    assert after - before < GROWTH


# --- jobs ----------------------------------------------------------------------------------------


def until(url, job, *states):
    """The job once it has one of these states."""
    for _ in range(3000):
        found = ask(f"{url}/v1/jobs/{job}")
        if found["state"] in states:
            return found
        time.sleep(0.1)
    raise AssertionError(found)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folder with a manifest of 240 examples of three classes, moved by a distance."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    rows = []
    for i in range(240):
        distance = rng.random()
        moved = np.eye(3)[i % 3] + distance * rng.normal(size=3)
        row = {"input": moved.tolist(), "label": "abc"[i % 3], "distance": distance}
        rows.append(row | {"source": str(i)})
    parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "moved.parquet")
    return folder


def test_a_job_survives_the_death_of_the_service_and_has_the_labels_of_the_command(root, tmp_path):
    arguments = [f"--data_root={root}", f"--jobs={tmp_path / 'jobs'}"]
    config = {"epochs": 60, "checkpoint.every_epochs": 5}
    with served(*arguments) as (url, process):
        asked = {"manifest": "moved.parquet", "config": config}
        job = ask(f"{url}/v1/jobs", asked)["id"]
        folder = tmp_path / "jobs" / job
        while not list(folder.glob("run/checkpoints/[0-9]*")):
            assert until(url, job, "queued", "running")
            time.sleep(0.05)
        process.kill()
        process.wait()
        left = int((folder / ".lock").read_text())
        os.kill(left, 0)  # the process of the job has outlived the service
    with served(*arguments) as (url, _):
        found = until(url, job, "finished", "failed")
        assert (found["state"], found["error"]) == ("finished", None)
        with urllib.request.urlopen(f"{url}/v1/jobs/{job}/labels.parquet") as answer:
            (tmp_path / "found.parquet").write_bytes(answer.read())
    given = [f"--config.{name}={value}" for name, value in config.items()]
    out = tmp_path / "labels.parquet"
    assert main.main(["label", f"--data={root / 'moved.parquet'}", f"--out={out}", *given]) == 0
    assert parquet.read_table(tmp_path / "found.parquet").equals(parquet.read_table(out))
    probabilities = autolabel_jax.load_predictor(folder / "predictor")(10 * np.eye(3, dtype="f"))
    assert probabilities.argmax(-1).tolist() == [0, 1, 2]


def test_delete_and_the_end_of_the_service_stop_a_job(root, tmp_path):
    arguments = [f"--data_root={root}", f"--jobs={tmp_path / 'jobs'}"]
    asked = {"manifest": "moved.parquet", "config": {"epochs": 100_000}}

    def started(url):
        job = ask(f"{url}/v1/jobs", asked)["id"]
        lock = tmp_path / "jobs" / job / ".lock"
        while not (tmp_path / "jobs" / job / "run" / "metrics.jsonl").exists():
            assert until(url, job, "queued", "running")
            time.sleep(0.05)
        return job, pathlib.Path(f"/proc/{lock.read_text()}")

    with served(*arguments) as (url, process):
        job, running = started(url)
        ask(f"{url}/v1/jobs/{job}", method="DELETE")
        assert not running.exists() and not (tmp_path / "jobs" / job).exists()
        job, running = started(url)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert not running.exists()
    saved = list((tmp_path / "jobs" / job / "run" / "checkpoints").glob("[0-9]*"))
    assert saved  # as the training saves its state when it is asked to stop
