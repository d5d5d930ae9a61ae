"""The report as a file, and as headless Chromium sees it."""

import base64
import html.parser
import http.server
import io
import json
import pathlib
import re
import shutil
import subprocess
import threading

import helpers
import matplotlib
import numpy as np
import pandas as pd
import pytest
import run_folders
from PIL import Image

from experiments.reporting import rendering

matplotlib.use("Agg")

VOID = {"meta", "link", "img", "br"}
TITLE = "Results <of> a & b"


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and the text of each kind; checks that tags are nested."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.texts = [], [], {}
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of <{tag}> stands twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes what is not open"

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """(path of the report, folder of its runs): two rules, and one run that is not finished."""
    root = tmp_path_factory.mktemp("report")
    for rule, accuracy in (("one_hot", 0.9), ("autolabel", 0.95)):
        for seed in (0, 1):
            folder = root / "runs" / f"{rule}_{seed}"
            run_folders.write(folder, rule=rule, seed=seed, accuracy=accuracy + 0.001 * seed)
    run_folders.write_logits(root / "runs" / "one_hot_0")
    begun = {"augment__name": "none", "dataset": "<script>alert(1)</script>"}
    run_folders.write(root / "runs" / "begun", seed=2, finished=False, settings=begun)
    torn = {"logits": np.zeros((2, 2))}
    np.savez(root / "runs" / "begun" / "test_logits.npz", **torn)
    path = root / "new" / "report.html"
    done = helpers.command(
        *("-m", "experiments.report", root / "runs", f"--out={path}", f"--title={TITLE}"),
    )
    assert done.returncode == 0, done.stderr
    return path, root / "runs"


@pytest.fixture(scope="module")
def page(report):
    page = Page(report[0].read_text(encoding="utf-8"))
    assert not page.open
    return page


def test_nothing_in_it_points_outside(page):
    for tag, attrs in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attrs.get(name, "#").startswith(("#", "data:")), (tag, attrs[name][:80])
        assert not any(name.startswith("on") for name in attrs)
    style = "".join(page.texts["style"])
    assert "url(" not in style and "@import" not in style and "@font-face" not in style


def test_figures_are_inside_with_words_for_them(page):
    images = page.all("img")
    # Two of all runs, one of each of five, a reliability diagram.
    assert len(images) == 2 + 5 + 1
    for attrs in images:
        data = attrs["src"].removeprefix("data:image/png;base64,")
        with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as picture:
            # Every pixel is shown, up to the width of the page.
            assert picture.width == pytest.approx(int(attrs["width"]), abs=1)
        assert len(attrs["alt"]) > 40


def test_it_can_be_used_by_keyboard_and_screen_reader(page):
    assert page.all("html") == [{"lang": "en"}]
    assert page.texts["title"] == [TITLE]
    links = page.all("a")
    assert links[0]["class"] == "skip"
    ids = [attrs["id"] for _, attrs in page.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["href"].removeprefix("#") for attrs in links} <= set(ids)
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert headings.count(1) == 1 and headings[0] == 1
    assert all(after <= before + 1 for before, after in zip(headings, headings[1:]))
    regions = [attrs for attrs in page.all("div") if attrs.get("class") == "scroll"]
    assert len(regions) == len(page.all("table")) == 4
    assert all(a["tabindex"] == "0" and a["role"] == "region" and a["aria-label"] for a in regions)
    assert all(attrs["scope"] in ("row", "col") for attrs in page.all("th"))
    assert len(page.all("main")) == 1


def luminance(color):
    """Relative luminance, WCAG 2.1."""
    color = color if len(color) == 7 else "#" + "".join(2 * c for c in color[1:])
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_a_contrast_of_seven_to_one(page):
    style = "".join(page.texts["style"])
    text = set(re.findall(r"[{;\s]color: (#\w+)", style))
    ground = set(re.findall(r"background: (#\w+)", style))
    assert len(text) >= 2 and len(ground) >= 2
    darkest = min(luminance(color) for color in ground)
    for color in text:
        assert (darkest + 0.05) / (luminance(color) + 0.05) >= 7, color


def test_every_config_is_there_unfolded_by_choice(page, report):
    assert len(page.all("details")) == len(page.texts["summary"]) == 5
    assert all("open" not in attrs for attrs in page.all("details"))
    shown = [json.loads(text) for text in page.texts["pre"]]
    rules = [c["config"]["labels.rule"] for c in shown]
    assert sorted(rules) == ["autolabel", "autolabel", "one_hot", "one_hot", "one_hot"]
    assert "<script>alert(1)</script>" in [c["config"]["dataset"] for c in shown]


def test_tables_are_there_and_what_was_left_out(page, report):
    assert [caption.partition(" (data set")[0] for caption in page.texts["caption"]] == [
        "Figures on the test set",
        "Difference to one-hot labels, seed by seed",
        "AutoLabel without a temperature against temperature scaling and smoothing",
        "Runs left out",
    ]
    assert "95.05 ±\xa00.07" in page.texts["td"]
    assert str(report[1] / "begun") in page.texts["th"]


def test_a_summary_comes_first(page):
    assert page.texts["h2"] == ["Summary", "Tables", "Figures", "Runs"]
    assert page.texts["p"][:2] == [
        "Runs compared: 4; left out: 1.",
        "digits, mlp-16, augmix\n300 images, 2 epochs, seeds: 2",
    ]


def test_tables_are_as_narrow_as_the_page():
    body = pd.DataFrame({"labels": ["a", "b"]} | {f"metric {i}": ["1", "2"] for i in range(20)})
    page = Page(rendering.html([rendering.Table("T", body.set_index("labels"), ("once",))]))
    assert page.texts["caption"] == ["T", "T, continued", "T, continued"]
    headers = [name for name in page.texts["th"] if name.startswith("metric")]
    assert headers == [f"metric {i}" for i in range(20)] and page.texts["li"][-1] == "once"
    assert page.texts["th"].count("labels") == 3


def test_a_figure_that_cannot_be_drawn_is_named(page, report):
    assert (
        page.texts["p"][-1] == f"Not drawn: {report[1] / 'begun' / 'test_logits.npz'}: lacks label"
    )


def test_an_empty_folder_is_refused(tmp_path):
    done = helpers.command("-m", "experiments.report", tmp_path, f"--out={tmp_path / 'r.html'}")
    assert done.returncode == 1
    assert f"error: {tmp_path}: found no config.json there" in done.stderr
    assert not (tmp_path / "r.html").exists()


# What a page has fetched, written where --dump-dom shows it. Needs the page's own policy away.
PROBE = """<script>addEventListener("load", () => document.body.dataset.fetched =
JSON.stringify(performance.getEntriesByType("resource").map((e) => e.name)))</script></body>"""


def dump_dom(path: pathlib.Path) -> str:
    """The page as Chromium has it after loading."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on the path; on Debian: apt-get install chromium")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    profile = f"--user-data-dir={path.parent / 'profile'}"
    done = subprocess.run(
        [*command, profile, "--virtual-time-budget=2000", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class Refuse(http.server.BaseHTTPRequestHandler):
    """Answers every request, with nothing."""

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_):
        pass


def fetched(path: pathlib.Path, text: str) -> list[str]:
    """Addresses that a page fetched, without the policy that would forbid it."""
    path.write_text(re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text))
    (body,) = Page(dump_dom(path)).all("body")
    return json.loads(body["data-fetched"])


def test_chromium_shows_the_page_and_fetches_nothing(report, page, tmp_path):
    text = report[0].read_text().replace("</body>", PROBE)
    assert fetched(tmp_path / "report.html", text) == []
    seen = Page(dump_dom(report[0]))
    assert seen.texts["title"] == [TITLE] and not seen.all("script")
    for tag in ("caption", "table", "tr", "td", "img", "details", "h2", "h3"):
        assert len(seen.all(tag)) == len(page.all(tag)), tag
    # A page that does fetch is seen to.
    with http.server.HTTPServer(("127.0.0.1", 0), Refuse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/picture.png"
        linked = text.replace("<h2", f'<img src="{address}" alt=""><h2', 1)
        assert fetched(tmp_path / "linked.html", linked) == [address]
        server.shutdown()
