from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from omnibench.audit import audit, page
from omnibench.cards import DatasetSpec

HOSTILE = '<script>alert(1)</script>"\u202e\x1b[31m'
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def card(**fields):
    return DatasetSpec(name="memory", kind="labels", open=lambda access: None, **fields)


@pytest.fixture
def leaking(memory, texture):
    image = texture(0)
    return memory(
        [image, texture(1)],
        [],
        [image[:, ::-1].copy(), image],
        targets=[0, 0, 1, 0],
        classes=("dark", HOSTILE),
        facts={"source": HOSTILE},
    )


@pytest.fixture
def text(leaking):
    return page.render(audit(leaking), leaking, card(licence=HOSTILE))


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def tags(text):
    parser = Tags()
    parser.feed(text)
    return parser.found


def test_texts_of_strangers_are_escaped_and_cannot_forge_the_page(text):
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\u202e" not in text and "\x1b" not in text
    assert not [tag for tag, _ in tags(text) if tag in ("script", "link", "iframe", "form", "a")]


def test_the_page_allows_itself_nothing_but_its_own_style_and_pictures(text):
    (policy,) = [a["content"] for tag, a in tags(text) if a.get("http-equiv")]
    style = re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert f"style-src 'sha256-{digest}'" in policy
    assert not [a for _, a in tags(text) if "style" in a]
    sources = [a["src"] for tag, a in tags(text) if tag == "img"]
    assert len(sources) == 6 and all(s.startswith("data:image/png;base64,") for s in sources)


def test_pictures_are_named_by_split_and_id_with_their_labels(text):
    names = [a["alt"] for tag, a in tags(text) if tag == "img"]
    assert names[:2] == ["train image 0", "test image 2"]  # the conflict comes first
    assert "different labels" in text and "train 0<br>dark" in text


def test_a_folder_page_says_that_its_pictures_are_the_users(leaking):
    text = page.render(audit(leaking), leaking, card(collection="folder"))
    assert "This page contains images" in text and "sent nowhere" in text


def test_only_some_pairs_are_drawn_and_their_number_is_told(memory, texture, monkeypatch):
    monkeypatch.setattr(page, "PAIRS", 3)
    dataset = memory([texture(0)], [], [texture(0)] * 5)
    text = page.render(audit(dataset), dataset, card())
    assert "3 of 9 pairs are shown" in text and text.count("<img") == 6


def test_pictures_of_real_numbers_and_colours_can_be_drawn(memory, texture):
    colour = np.stack([texture(s) for s in (1, 2, 3)], axis=2)
    dataset = memory([(colour / 255).astype(np.float32)], [], [colour])
    text = page.render(audit(dataset), dataset, card())
    assert text.count("data:image/png") == 2


def test_masks_that_contradict_each_other_are_outlined(memory, texture):
    image, mask = texture(0), np.zeros((144, 144), np.uint8)
    mask[30:90, 30:90] = 1
    both = [mask, np.roll(mask, 50, axis=1)]
    dataset = memory([image], [], [image], both, kind="masks")
    text = page.render(audit(dataset), dataset, card())
    first, second = re.findall(r"base64,([^\"]+)\"", text)
    assert "very different masks" in text and first != second


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install chromium")
def test_a_browser_shows_the_page_on_a_phone_without_a_complaint(text, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    file = tmp_path / "audit.html"
    file.write_text(text)
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 360, "height": 740})
        said, asked = [], []
        tab.on("console", lambda message: said.append(message.text))
        tab.on("request", lambda request: asked.append(request.url))
        tab.goto(file.as_uri())
        width = tab.evaluate("document.documentElement.scrollWidth")
        shown = tab.evaluate("[...document.images].every(i => i.naturalWidth > 0)")
        colour = tab.evaluate("getComputedStyle(document.querySelector('figure')).borderRadius")
        browser.close()
    assert said == [] and width <= 360 and shown
    assert colour != "0px"  # the style is allowed by the page's own policy
    assert all(url.startswith(("file:", "data:")) for url in asked)
