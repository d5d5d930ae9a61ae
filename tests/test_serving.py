"""The HTTP service in this process: predictions, limits, errors, token, metrics, the command."""

import base64
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import predictor_folders
import pytest
import serving_clients as clients
from PIL import Image, ImageFile

from autolabel_jax import predictor as predictor_lib
from autolabel_jax.commands import main
from autolabel_jax.serving import app, batching
from autolabel_jax.serving.uploads import Limits

PREDICT = "/v1/predict"
MIB = 2**20


@pytest.fixture(scope="module")
def digits():
    return predictor_lib.load(predictor_folders.digits()[1], batch_size=4)


@pytest.fixture(scope="module")
def client(digits):
    with clients.of(digits) as found:
        yield found


@pytest.fixture(scope="module")
def features():
    with clients.of() as found:
        yield found


@pytest.fixture(scope="module")
def sounds():
    with clients.of(clients.predictor(spec=clients.SOUNDS, encoding=clients.CLIPS)) as found:
        yield found


@pytest.fixture(scope="module")
def rows():
    with clients.of(clients.predictor(encoding=clients.COLUMNS)) as found:
        yield found


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


def shares(response):
    """Probabilities by class, after checks of their order."""
    assert response.status_code == 200, response.text
    answer = response.json()
    found = [each["probability"] for each in answer["top"]]
    assert found == sorted(found, reverse=True)
    assert answer["top"][0] == {name: answer[name] for name in ("class", "probability")}
    return {each["class"]: each["probability"] for each in answer["top"]}


class Gate:
    """A program that waits until it is opened; keeps the sizes of its batches."""

    def __init__(self):
        self.open, self.started, self.sizes = threading.Event(), threading.Event(), []
        self.open.set()
        self._run = clients.predictor()._program

    def close(self):
        self.open.clear()
        self.started.clear()
        self.sizes.clear()

    def __call__(self, batch):
        self.sizes.append(len(batch))
        self.started.set()
        assert self.open.wait(20)
        return self._run(batch)


# --- predictions ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_has_the_probabilities_of_the_predictor(kind, client, digits, image):
    content = clients.encoded(image, kind)
    expected = digits(digits.read_picture(content)[None])[0]
    encoded = base64.b64encode(content).decode()
    for given in (clients.file_of(content), {"json": {"image": encoded}}):
        found = shares(client.post(PREDICT, **given))
        assert found.keys() == {*digits.class_names}
        for name, probability in zip(digits.class_names, expected):
            assert found[name] == pytest.approx(probability, abs=1e-6)


def test_numbers_have_the_probabilities_of_the_predictor(client, digits, features):
    one = np.random.default_rng(1).integers(0, 256, digits.shape, np.uint8)
    found = shares(client.post(PREDICT, json={"input": one.tolist()}))
    for name, probability in zip(digits.class_names, digits(one[None])[0]):
        assert found[name] == pytest.approx(probability, abs=1e-6)
    found = shares(features.post(PREDICT, json={"input": [0.5, -1, 2]}))
    for name, probability in zip(clients.CLASSES, clients.softmax(np.array([0.5, -1, 2]))):
        assert found[name] == pytest.approx(probability, abs=1e-6)


def test_a_sound_is_scaled_padded_and_classified(sounds):
    content = clients.wav(np.int16([100, -200, 50, 0]))
    mean = np.array([0.5, -1, 0.25]) / 2  # over two rows of three samples, the second of zeros
    encoded = base64.b64encode(content).decode()
    for given in (clients.file_of(content), {"json": {"sound": encoded}}):
        found = shares(sounds.post(PREDICT, **given))
        for name, probability in zip(clients.CLASSES, clients.softmax(mean)):
            assert found[name] == pytest.approx(probability, abs=1e-6)
    assert sounds.get("/v1/model").json()["takes_sounds"]


@pytest.mark.parametrize(
    ("row", "numbers"),
    [
        ({"size": 2.5, "colour": "red"}, [2.5, 0, 1]),
        ({"other": None, "colour": 1, "size": 2}, [2, 1, 0]),
        ({"size": True, "colour": "red"}, [1, 0, 1]),
    ],
)
def test_a_row_of_a_table_is_encoded_and_classified(row, numbers, rows):
    found = shares(rows.post(PREDICT, json={"row": row}))
    for name, probability in zip(clients.CLASSES, clients.softmax(np.array(numbers))):
        assert found[name] == pytest.approx(probability, abs=1e-6)


def test_top_k_limits_the_classes():
    with clients.of(top_k=2) as client:
        found = shares(client.post(PREDICT, json={"input": [0, 3, 1]}))
    assert list(found) == ["<b>bee</b>", "cat"]


def test_the_model_is_described(client, digits):
    found = client.get("/v1/model").json()
    assert found["class_names"] == list(digits.class_names)
    assert found["metrics"] == digits.info["metrics"]
    assert (found["calibrator"], found["takes_pictures"]) == ("temperature", True)
    assert (found["input"]["shape"], found["licence"]) == ([32, 32, 3], "CC-BY-4.0")


# --- what is refused -----------------------------------------------------------------------------


def test_a_bomb_is_refused_before_it_is_decoded(client, monkeypatch):
    bomb = clients.encoded(Image.new("RGB", (6000, 5000), "red"))
    assert len(bomb) < MIB
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("was decoded"))
    response = client.post(PREDICT, **clients.file_of(bomb))
    assert response.status_code == 413
    assert response.json()["detail"] == "6000 × 5000 pixels: at most 20000000 are decoded"


@pytest.mark.parametrize("name", ["truncated", "text", "nine", "gif", "empty", "stripe"])
def test_a_bad_file_is_refused(name, client, image):
    good = clients.encoded(image)
    content, status, message = {
        "truncated": (good[: len(good) // 2], 422, "not decoded: "),
        "text": (b"no image", 415, "the file is no image of PNG, JPEG, WEBP"),
        "nine": (bytes(9 * MIB), 413, "the body has more than 8388608 bytes"),
        "gif": (clients.encoded(image, "GIF"), 415, "the file is no image of PNG, JPEG, WEBP"),
        "empty": (b"", 415, "the file is no image of PNG, JPEG, WEBP"),
        "stripe": (clients.encoded(Image.new("L", (9000, 1))), 422, "not decoded: its sides of"),
    }[name]
    response = client.post(PREDICT, **clients.file_of(content))
    assert response.status_code == status
    assert response.json()["detail"].startswith(message)
    assert client.post(PREDICT, **clients.file_of(good)).status_code == 200


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (clients.wav(np.zeros(4, np.int16)), 422, "the file is silent in its first 4 samples"),
        (clients.wav(np.float32([1, np.nan])), 422, "the file holds samples that are not finite"),
        (clients.wav(np.ones((4, 2), np.int16)), 422, "the file has 2 channels, expected one; mix"),
        (clients.wav(np.ones(4, np.int16), 44100), 422, "the file has 44100 samples per second, e"),
        (clients.wav(np.ones(4, np.int16))[:-2], 422, "the file is cut off: it has 50 of 52 bytes"),
        (clients.wav(np.ones(601, np.uint8), 1), 413, "601 seconds of 1 samples: at most 600"),
        (clients.wav(np.ones(9, np.uint8), 2**32 - 1), 413, "2.1e-09 seconds of 4294967295 sampl"),
        (b"OggS", 415, "the file is no .wav file"),
    ],
    ids=["silent", "nan", "stereo", "rate", "cut", "long", "fast", "ogg"],
)
def test_a_bad_sound_is_refused(content, status, message, sounds):
    response = sounds.post(PREDICT, **clients.file_of(content))
    assert response.status_code == status
    assert response.json()["detail"].startswith(message)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"size": 1}, "row: lacks the columns colour; it has size"),
        ({"two\nlines": 1}, "row: lacks the columns size, colour; it has two lines"),
        ({"size": 1, "colour": "blue"}, "row: column 'colour' has the new category 'blue' in row"),
        ({"size": None, "colour": 1}, "row: column 'size' has no value in row 1; in training it"),
        ({"size": "tall", "colour": 1}, "row: column 'size' must hold finite numbers; got 'tall'"),
        ({"size": 1e39, "colour": 1}, "row: column 'size' holds a number too large in row 1"),
        ({"size": 10**400, "colour": 1}, "row."),
        ({"size": [1], "colour": 1}, "row.size."),
        ([1, 2], "row: Input should be a valid dictionary"),
    ],
)
def test_a_bad_row_is_refused(row, message, rows):
    response = rows.post(PREDICT, json={"row": row})
    assert response.status_code == 422
    assert response.json()["detail"].startswith(message)


JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ({"content": b'{"input": [1,', "headers": JSON}, 400, "the body is no JSON: "),
        ({"content": b"[" * 10**5, "headers": JSON}, 400, "the body is no JSON: "),
        ({"content": b"\xff", "headers": JSON}, 400, "the body is no JSON: "),
        ({"content": b"", "headers": JSON}, 400, "the body is no JSON: "),
        ({"content": b'{"input": [NaN, 1, 1]}', "headers": JSON}, 422, "input.0: "),
        ({"content": b"{}", "headers": {"content-type": "text/plain"}}, 415, "Content-Type: got"),
        ({"content": b"{}"}, 415, "Content-Type: got ''"),
        (clients.file_of(b"a"), 415, "Content-Type: got 'multipart/form-data'"),
        ({"json": [1, 2, 3]}, 422, "the body: expected a JSON object"),
        ({"json": {}}, 422, "input: Field required"),
        ({"json": {"input": [1, 2, 3], "more": 1}}, 422, "more: Extra inputs"),
        ({"json": {"image": "AAAA"}}, 422, "input: Field required"),
        ({"json": {"input": [1, 2]}}, 422, "input: List should have at least 3"),
        ({"json": {"input": [[1, 2, 3]]}}, 422, "input.0: Input should be a valid number"),
        ({"json": {"input": [1, 2, "3"]}}, 422, "input.2: Input should be a valid number"),
        ({"json": {"input": [1, 2, True]}}, 422, "input.2: Input should be a valid number"),
        ({"json": {"input": [1, 2, 1e39]}}, 422, "input.2: Input should be less than"),
        ({"json": {"input": "1,2,3"}}, 422, "input: Input should be a valid list"),
    ],
)
def test_bad_json_is_refused(given, status, message, features):
    response = features.post(PREDICT, **given)
    assert response.status_code == status
    assert response.json()["detail"].startswith(message)


@pytest.mark.parametrize(
    ("given", "status", "message"),
    [
        ({"json": {"image": "no base64!"}}, 422, "image: is no base64: "),
        ({"json": {"image": "ä"}}, 422, "image: is no base64: "),
        ({"json": {"image": "AAAA"}}, 415, "the file is no image"),
        ({"json": {"image": 1}}, 422, "image: Input should be a valid string"),
        ({"json": {"image": "AAAA", "input": []}}, 422, "input: Extra inputs"),
        ({"json": {"input": [[[0, 0, 256]] * 32] * 32}}, 422, "input.0.0.2: Input should be less"),
        ({"json": {"input": [[[0, 0, 0.5]] * 32] * 32}}, 422, "input.0.0.2: Input should be a"),
        (clients.file_of(b"a", name="picture"), 422, "the form has no file named 'file'"),
        ({"files": [("file", b"a"), ("file", b"b")]}, 400, "the form cannot be read: Too many"),
        ({"data": {"file": "text"}, "files": {"a": b""}}, 400, "the form cannot be read: Too many"),
        (
            {"content": b"--a", "headers": {"content-type": "multipart/form-data"}},
            400,
            "the form cannot be read: Missing boundary",
        ),
    ],
)
def test_bad_pictures_in_json_and_forms_are_refused(given, status, message, client):
    response = client.post(PREDICT, **given)
    assert response.status_code == status
    assert response.json()["detail"].startswith(message)


@pytest.mark.parametrize("kind", [b"application/json", b"multipart/form-data; boundary=a"])
def test_bytes_are_counted_as_they_arrive(kind):
    made = app.create(clients.predictor(spec=clients.PICTURES), limits=Limits(num_bytes=10_000))
    head = b'--a\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
    parts = itertools.chain([head], itertools.repeat(bytes(1000)))
    status, read = clients.raw(made, parts, kind=kind)
    assert (status, read) == (413, 11)


def test_probabilities_that_are_not_finite_are_no_answer():
    def program(batch):
        bad = np.full((len(batch), 3), np.nan, np.float32)
        return {"probabilities": bad, "calibrated_logits": bad, "logits": bad}

    with clients.of(clients.predictor(program)) as client:
        response = client.post(PREDICT, json={"input": [1, 2, 3]})
    assert (response.status_code, response.json()["detail"]) == (
        422,
        "the probabilities of this input are not finite",
    )


def test_an_error_of_the_model_is_that_of_its_requests_alone():
    run, broken = clients.predictor()._program, []

    def program(batch):
        if broken:
            raise RuntimeError(broken.pop())
        return run(batch)

    with clients.of(clients.predictor(program)) as client:
        broken.append("secret")
        response = client.post(PREDICT, json={"input": [1, 2, 3]})
        assert (response.status_code, response.json()) == (
            500,
            {"detail": "an error of the service; see its log"},
        )
        assert client.post(PREDICT, json={"input": [1, 2, 3]}).status_code == 200
        assert client.get("/healthz").json() == {"status": "ok"}


def test_a_service_whose_part_has_ended_is_not_healthy(monkeypatch):
    async def ends(self):
        return

    monkeypatch.setattr(batching.Batcher, "run", ends)
    with clients.of() as client:
        assert client.get("/healthz").status_code == 503


@pytest.mark.parametrize("path", ["/nothing", "/v1/jobs", "/docs", "/v1/predict/"])
def test_other_routes_do_not_exist(path, features):
    assert features.get(path, follow_redirects=False).status_code == 404


@pytest.mark.parametrize(
    ("path", "allowed"), [(PREDICT, "POST"), ("/", "GET"), ("/healthz", "GET")]
)
def test_other_methods_are_refused_and_the_right_ones_named(path, allowed, features):
    response = features.request("PUT", path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)
    assert response.json()["detail"] == f"PUT: expected one of: {allowed}"


# --- many requests -------------------------------------------------------------------------------


def test_requests_that_wait_are_one_batch_and_each_gets_its_own_answer():
    gate, rng = Gate(), np.random.default_rng(0)
    inputs = rng.normal(size=(20, 3))
    with clients.of(clients.predictor(gate)) as client, ThreadPoolExecutor(20) as pool:
        assert gate.sizes == batching.sizes(8) == [1, 2, 4, 8]  # compiled before the first request
        gate.close()
        first = pool.submit(client.post, PREDICT, json={"input": inputs[0].tolist()})
        assert gate.started.wait(20)
        others = [
            pool.submit(client.post, PREDICT, json={"input": one.tolist()}) for one in inputs[1:]
        ]
        while len(client.app.state.batcher._waiting) < 19:
            time.sleep(0.01)
        gate.open.set()
        for one, response in zip(inputs, [first, *others]):
            found = shares(response.result())
            for name, expected in zip(clients.CLASSES, clients.softmax(one)):
                assert found[name] == pytest.approx(expected, abs=1e-6)
    assert gate.sizes == [1, 8, 8, 4]  # 1, 8, 8 and 3


def test_a_predictor_compiles_nothing_after_the_start(digits, client, image):
    program = digits._program.func
    before = program._cache_size()
    with ThreadPoolExecutor(12) as pool:
        given = clients.file_of(clients.encoded(image))
        answers = list(pool.map(lambda _: client.post(PREDICT, **given), range(60)))
    assert {response.status_code for response in answers} == {200}
    assert program._cache_size() == before == len(batching.sizes(4))


@pytest.mark.parametrize("most", [1, 2, 3, 8, 30, 64])
def test_sizes_are_those_to_which_the_predictor_pads(most):
    seen = set()
    run = clients.predictor()._program

    def program(batch):
        seen.add(len(batch))
        return run(batch)

    made = clients.predictor(program, batch_size=most)
    for n in range(1, most + 1):
        made(np.zeros((n, 3), np.float32))
    assert batching.sizes(most) == sorted(seen)


def test_a_full_queue_is_503_until_there_is_a_place():
    gate, given = Gate(), {"json": {"input": [1, 2, 3]}}
    with clients.of(clients.predictor(gate), limits=Limits(waiting=2)) as client:
        gate.close()
        with ThreadPoolExecutor(2) as pool:
            inside = [pool.submit(client.post, PREDICT, **given) for _ in range(2)]
            while "predictions_inside 2.0" not in client.get("/metrics").text:
                time.sleep(0.01)
            refused = client.post(PREDICT, **given)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert client.get("/healthz").status_code == 200
            gate.open.set()
            assert [each.result().status_code for each in inside] == [200, 200]
        assert client.post(PREDICT, **given).status_code == 200


def test_limits_are_those_of_the_documentation():
    assert Limits() == Limits(num_bytes=8 * MIB, pixels=20_000_000, waiting=256, seconds=10)


def test_a_slow_model_is_504_and_its_request_leaves_the_queue():
    gate, given = Gate(), {"json": {"input": [1, 2, 3]}}
    with clients.of(clients.predictor(gate), limits=Limits(seconds=0.2, waiting=1)) as client:
        gate.close()
        for _ in range(3):
            assert client.post(PREDICT, **given).status_code == 504
        gate.open.set()
        while (late := client.post(PREDICT, **given)).status_code == 504:
            pass
        assert late.status_code == 200
        assert set(gate.sizes) == {1}


def test_a_slow_client_is_504():
    made = app.create(clients.predictor(), limits=Limits(seconds=0.2))
    assert clients.raw(made, iter([b"{"])) == (504, 1)


# --- token, metrics, page ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("Bearer geheim-ß", 200),
        ("bearer geheim-ß", 200),
        (None, 401),
        ("Bearer geheim", 401),
        ("Bearer ", 401),
        ("Basic geheim-ß", 401),
        ("geheim-ß", 401),
    ],
)
def test_the_token_is_needed_below_v1(sent, status):
    with clients.of(token="geheim-ß") as client:
        headers = {} if sent is None else {"Authorization": sent.encode()}
        for response in (
            client.get("/v1/model", headers=headers),
            client.post(PREDICT, json={"input": [1, 2, 3]}, headers=headers),
        ):
            assert response.status_code == status
            assert (response.headers.get("www-authenticate") == "Bearer") == (status == 401)
        for path in ("/", "/healthz", "/metrics", "/openapi.json"):
            assert client.get(path).status_code == 200


def test_with_a_wrong_token_no_body_is_read():
    made = app.create(clients.predictor(), token="a")
    assert clients.raw(made, iter([b"{"])) == (401, 0)


@pytest.mark.parametrize(
    ("host", "status"),
    [("127.0.0.1:8000", 200), ("localhost", 200), ("[::1]:80", 200), ("example.org", 403)],
)
def test_without_a_token_other_hosts_are_refused(host, status, features):
    response = features.get("/v1/model", headers={"Host": host})
    assert response.status_code == status


def test_requests_are_counted_by_route_and_status():
    with clients.of() as client:
        for given in ([1, 2, 3], [1, 2, 3], [1]):
            client.post(PREDICT, json={"input": given})
        client.get("/some/path")
        text = client.get("/metrics").text
    for line in (
        'autolabel_requests_total{route="/v1/predict",status="200"} 2.0',
        'autolabel_requests_total{route="/v1/predict",status="422"} 1.0',
        'autolabel_requests_total{route="none",status="404"} 1.0',
        'autolabel_request_seconds_count{route="/v1/predict"} 3.0',
        "autolabel_batch_size_sum 2.0",
        "autolabel_predictions_inside 0.0",
    ):
        assert line in text.splitlines()
    assert "process_resident_memory_bytes" in text


def test_the_page_loads_nothing_from_elsewhere(features):
    response = features.get("/")
    assert "://" not in response.text and "innerHTML" not in response.text
    rules = response.headers["content-security-policy"].split("; ")
    policy = dict(rule.split(" ", 1) for rule in rules)
    assert policy["default-src"] == "'none'" and policy["connect-src"] == "'self'"
    assert not any("unsafe" in rule for rule in rules)


def test_the_description_fits_the_predictor(client, features, sounds, rows):
    def body(client):
        return client.get("/openapi.json").json()["paths"][PREDICT]["post"]["requestBody"][
            "content"
        ]

    (numbers,) = body(features)["application/json"]["schema"]["anyOf"]
    assert list(body(features)) == ["application/json"]
    assert (numbers["properties"]["input"]["minItems"], numbers["required"]) == (3, ["input"])
    assert [*body(client)] == ["multipart/form-data", "application/json"]
    assert [*body(sounds)] == [*body(client)] and [*body(rows)] == [*body(features)]
    for other, name in ((sounds, "sound"), (rows, "row")):
        assert body(other)["application/json"]["schema"]["anyOf"][0]["required"] == [name]
    picture, numbers = body(client)["application/json"]["schema"]["anyOf"]
    assert picture["required"] == ["image"]
    assert numbers["properties"]["input"]["maxItems"] == 32


# --- the command ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--host=0.0.0.0"], "--host: got 0.0.0.0; set AUTOLABEL_TOKEN to a secret that"),
        (["--host=::1"], "--host: got ::1; set AUTOLABEL_TOKEN to a secret that requests"),
        (["--data_root=."], "--data_root and --jobs: give both, or none for a service"),
        (["--jobs=jobs"], "--data_root and --jobs: give both, or none for a service"),
        (["--data_root=nowhere", "--jobs=jobs"], "--data_root: nowhere is no folder"),
        (["--top_k=0"], "--top_k: got 0, must be at least 1"),
        (["--batch_size=0"], "--batch_size: got 0, must be at least 1"),
        (["--port=99999"], "--host, --port: 127.0.0.1:99999 cannot be used: "),
        (["--port=TAKEN"], "--host, --port: 127.0.0.1:TAKEN cannot be used: "),
        (["--model=nowhere"], "nowhere: found no predictor.json there; give a folder that"),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(
    arguments, message, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUTOLABEL_TOKEN", "")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        given = [argument.replace("TAKEN", port) for argument in arguments]
        model = f"--model={predictor_folders.digits()[1]}"
        assert main.main(["serve", model, *given]) == 1
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message.replace('TAKEN', port)}") and err.count("\n") == 1


def test_with_a_token_another_address_is_bound_to(monkeypatch, capsys):
    import uvicorn

    served = []
    monkeypatch.setenv("AUTOLABEL_TOKEN", "secret")
    monkeypatch.setattr(
        uvicorn.Server, "run", lambda self, sockets: served.append(sockets[0].getsockname())
    )
    model = predictor_folders.digits()[1]
    assert main.main(["serve", f"--model={model}", "--host=0.0.0.0", "--port=0"]) == 0
    ((address, port),) = served
    assert address == "0.0.0.0"
    assert capsys.readouterr().err == f"serving {model} on http://0.0.0.0:{port}/\n"


def test_without_the_extra_the_command_says_what_to_install(monkeypatch, capsys):
    from autolabel_jax.commands import serve

    monkeypatch.setattr(serve, "EXTRA", ("json", "no_such_module_of_the_extra"))
    assert main.main(["serve", "--model=a"]) == 1
    assert capsys.readouterr().err == (
        "error: autolabel serve needs no_such_module_of_the_extra: "
        "pip install 'autolabel-jax[serve]'\n"
    )
