"""The site in a real browser: sorting, filtering, nothing asked of others, readable on a phone."""

from __future__ import annotations

import shutil

import pytest

from omnibench_leaderboard.outputs import folder
from omnibench_leaderboard.outputs.files import files

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: install chromium")
PHONE = {"width": 360, "height": 740}


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        # Tests in containers run as root, where Chromium has no sandbox.
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def new_context(browser, **options):
    context = browser.new_context(**options)
    context.set_default_timeout(120_000)  # machines that test are busy
    return context


@pytest.fixture(scope="module")
def site(boards, tmp_path_factory):
    """A site of an ordinary and one of a hostile board."""
    root = tmp_path_factory.mktemp("sites")
    labels = tuple(f"encoder-{letter}" for letter in "abcdefgh")
    wide = boards.board(labels, tuple(f"dataset-{i}" for i in range(9)))
    folder.replace(root / "wide", files(wide))
    folder.replace(root / "hostile", files(boards.hostile()))
    return root


@pytest.fixture
def visit(browser, site):
    """Open a page; at the end, nothing may have gone wrong or left the folder."""
    context = new_context(browser)
    problems, asked = [], []
    context.on("request", lambda request: asked.append(request.url))

    def opened(path, **options):
        page = context.new_page()
        page.on("console", lambda m: problems.append(m.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog {dialog.message}"))
        if options:
            page.set_viewport_size(options)
        page.goto((site / path).as_uri())
        return page

    yield opened
    context.close()
    assert problems == []
    home = site.as_uri()
    assert asked and [url for url in asked if not url.startswith(home)] == []


def encoders(page):
    """Return the visible row heads of the first table's ranked rows."""
    heads = page.locator("table").first.locator("tbody").first.locator("th").all()
    return [head.inner_text().split()[0] for head in heads if head.is_visible()]


def test_a_click_sorts_and_says_so(visit):
    page = visit("wide/index.html")
    assert encoders(page) == [f"encoder-{letter}" for letter in "abcdefgh"]
    header = page.locator("table").first.locator("thead th").nth(2)
    assert header.get_attribute("aria-sort") is None
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    assert encoders(page) == [f"encoder-{letter}" for letter in "abcdefgh"]
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    assert encoders(page) == [f"encoder-{letter}" for letter in "hgfedcba"]
    assert page.locator("th[aria-sort]").count() == 1


def test_sorting_works_from_the_keyboard(visit):
    page = visit("wide/index.html")
    button = page.locator("table").first.locator("thead th").first.get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert encoders(page)[0] == "encoder-h"


def test_printed_values_stay_below_whatever_is_sorted(visit):
    page = visit("wide/index.html")
    for header in page.locator("table").first.locator("thead th button").all():
        header.click()
        last = page.locator("table").first.locator("tbody tr").last
        assert "○" in last.inner_text()


def test_filtering_hides_rows_and_announces_how_many_are_left(visit):
    page = visit("wide/index.html")
    page.get_by_label("Filter encoders").first.fill("ENCODER-C")
    assert encoders(page) == ["encoder-c"]
    assert page.locator("output").first.inner_text() == "1 of 9 rows"
    assert page.locator("output").first.get_attribute("aria-live") == "polite"
    page.get_by_label("Filter encoders").first.fill("")
    page.get_by_label("commercial use allowed").first.check()
    assert "encoder-b" not in encoders(page) and "encoder-a" in encoders(page)


def test_without_javascript_the_table_stands_best_first(browser, site):
    context = new_context(browser, java_script_enabled=False)
    page = context.new_page()
    page.goto((site / "wide/index.html").as_uri())
    assert encoders(page) == [f"encoder-{letter}" for letter in "abcdefgh"]
    assert page.locator("th button").count() == 0
    assert not page.locator(".filter").first.is_visible()
    context.close()


@pytest.mark.parametrize(
    "kind", ["index.html", "methods.html", "datasets", "encoders", "comparisons"]
)
@pytest.mark.parametrize("board", ["wide", "hostile"])
def test_a_phone_shows_every_page_without_sideways_scrolling(visit, site, board, kind):
    path = site / board / kind
    first = path if path.is_file() else min(path.iterdir())
    page = visit(first.relative_to(site).as_posix(), **PHONE)
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= PHONE["width"], f"{wide} px wide"
    size = page.evaluate("parseFloat(getComputedStyle(document.querySelector('td, li')).fontSize)")
    assert size >= 12


def test_the_policy_stops_a_script_that_got_in(browser, site):
    context = new_context(browser)
    page = context.new_page()
    page.goto((site / "wide/index.html").as_uri())
    page.evaluate(
        "document.body.insertAdjacentHTML('beforeend',"
        ' \'<img src=x onerror="window.hurt = true"><b style="color:red" id=b>x</b>\')'
    )
    page.wait_for_timeout(200)
    assert page.evaluate("window.hurt === undefined")
    assert page.evaluate("getComputedStyle(document.getElementById('b')).color") != "rgb(255, 0, 0)"
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark(browser, site, scheme):
    context = new_context(browser, color_scheme=scheme)
    page = context.new_page()
    page.goto((site / "wide/index.html").as_uri())
    for selector in ("p", "caption", "td a", ".note", ".published td", ".badge"):
        ratio = page.evaluate(CONTRAST, selector)
        assert ratio >= 4.5, (selector, ratio)
    context.close()


# WCAG 2.2, relative luminance and contrast ratio.
CONTRAST = """selector => {
  const light = colour => {
    const parts = colour.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255);
    const [r, g, b] = parts.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ink = light(getComputedStyle(document.querySelector(selector)).color);
  const ground = light(getComputedStyle(document.body).backgroundColor);
  return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
}"""
