"""The site as files: nothing leaves it, nothing breaks out, and every number leads to its records."""

from __future__ import annotations

import posixpath
import re
from html.parser import HTMLParser

import pytest

from omnibench_leaderboard.outputs import inert
from omnibench_leaderboard.outputs.citation import address
from omnibench_leaderboard.outputs.files import files
from omnibench_leaderboard.outputs.site import paths
from omnibench_leaderboard.outputs.site.pages import POLICY

VOID = {"meta", "link", "img", "input", "br"}
NAME = re.compile(r"[a-z0-9][a-z0-9./-]*")


class Page(HTMLParser):
    """Tags, attributes and texts of a page; complains about tags that are not closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.texts, self.open, self.row_heads = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if (tag, dict(attrs).get("scope")) == ("th", "row"):
            self.row_heads.append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if "th" in self.open and self.row_heads:
            self.row_heads[-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def pages(board, **options):
    made = files(board, **options)
    return {name: Page(data.decode()) for name, data in made.items() if name.endswith(".html")}


def test_there_is_a_page_for_each_dataset_encoder_and_comparison(boards):
    names = set(files(boards.board()))
    assert {"index.html", "methods.html", "tables.md", "tables.tex", "board.csv"} <= names
    assert sum(name.startswith("datasets/") for name in names) == 2
    assert sum(name.startswith("encoders/") for name in names) == 3
    assert sum(name.startswith("comparisons/") for name in names) == 2


def test_building_twice_gives_the_same_bytes(boards):
    assert files(boards.board()) == files(boards.board())


def test_names_never_become_paths(boards):
    for name in files(boards.hostile()):
        assert NAME.fullmatch(name) and ".." not in name


def test_every_page_is_well_formed_and_asks_no_other_server(boards):
    for name, page in pages(boards.hostile()).items():
        loaded = [a.get("src") for _, a in page.tags if a.get("src")]
        loaded += [a["href"] for a in page.all("link")]
        root = "../" * name.count("/")
        assert set(loaded) <= {f"{root}style.css", f"{root}table.js"}, name
        (policy,) = [a["content"] for a in page.all("meta") if "http-equiv" in a]
        assert policy == POLICY and "unsafe" not in policy and "http" not in policy


def test_style_and_script_load_nothing(boards):
    made = files(boards.board())
    for name in ("style.css", "table.js"):
        text = made[name].decode()
        assert not re.search(r"url\(|@import|import\s*\(|fetch|XMLHttp|https?:|innerHTML", text)


def test_hostile_texts_stay_texts_on_every_page(boards):
    known = set()
    for page in pages(boards.board()).values():
        known |= {(tag, name) for tag, attributes in page.tags for name in attributes}
    for path, page in pages(boards.hostile()).items():
        found = {(tag, name) for tag, attributes in page.tags for name in attributes}
        assert found <= known | {("span", "class"), ("b", "class")}, path
        for attributes in page.all("a"):
            assert re.match(r"(\.\./)*[a-z]|#(r[0-9a-f]{12}|main)$|https://", attributes["href"])
            assert not attributes["href"].startswith(("javascript", "data:"))


def test_hostile_names_are_read_back_from_the_index(boards):
    index = pages(boards.hostile())["index.html"]
    heads = [head.strip() for head in index.row_heads]
    for text in boards.HOSTILE:
        assert any(head.startswith(inert.line(text)) for head in heads), text
    assert not any(re.search("[\x00-\x08\x1b\u202e\u2066]", text) for text in index.texts)


def test_every_internal_link_leads_somewhere(boards):
    board = boards.board()
    public = frozenset(r for c in board.columns for cell in c.cells for r in cell.records)
    made = pages(board, records=public)
    everything = set(files(board)) | {f"records/{place}" for place in public}
    ids = {name: {a["id"] for _, a in page.tags if "id" in a} for name, page in made.items()}
    for name, page in made.items():
        for attributes in page.all("a"):
            if attributes["href"].startswith("https://"):
                continue
            target, _, anchor = attributes["href"].partition("#")
            path = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            path = path if target else name
            assert path in everything, (name, attributes["href"])
            assert not anchor or anchor in ids[path], (name, attributes["href"])


def test_every_number_leads_to_its_records_and_the_exact_command(boards):
    board = boards.board()
    made = files(board)
    index = made["index.html"].decode()
    for column in board.headlines:
        page = made[paths.dataset(column)].decode()
        for cell in column.cells:
            assert f"{paths.dataset(column)}#{paths.anchor(column, cell)}" in index
            place = page.index(f'id="{paths.anchor(column, cell)}"')
            rest = page[place:].partition("</li></ul>")[0]
            assert cell.command in rest
            assert all(record in rest for record in cell.records)


def test_tables_are_real_tables_with_scopes_and_captions(boards):
    for page in pages(boards.board()).values():
        assert len(page.all("table")) == len(page.all("caption")) == len(page.all("thead"))
        assert all(a.get("scope") in ("col", "row") for a in page.all("th"))
        assert len(page.all("h1")) == len(page.all("main")) == 1


def test_printed_values_are_hollow_and_unranked(boards):
    index = pages(boards.board())["index.html"]
    heads = [head for head in index.row_heads if "○" in head]
    assert len(heads) == 1 and "Somebody 2026, Table 9" in heads[0]
    assert not any("unet" in head for head in index.row_heads)


def test_licences_flags_and_exclusions_are_shown(boards):
    made = pages(boards.board())
    index, methods = ("".join(made[name].texts) for name in ("index.html", "methods.html"))
    assert "non-commercial" in index and "random weights" in index
    assert "⚠ data for non-commercial use" in index
    for told in ("not allowed", "not a record", "failed (oom)", "scipy", "fewer than five"):
        assert told in methods


def test_the_best_has_a_star_where_it_is_separated_and_a_dagger_where_it_is_not(boards):
    text = "".join(pages(boards.board())["index.html"].texts)
    assert "90.00 ± 0.40 ★ best" in text and "90.00 ± 0.40 † tied with the best" in text


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("arXiv:2304.07193", "https://arxiv.org/abs/2304.07193"),
        ("10.1038/s41597-022-01721-8", "https://doi.org/10.1038/s41597-022-01721-8"),
        ("https://example.org/a", "https://example.org/a"),
        ("javascript:alert(1)", ""),
        ("http://example.org", ""),
        ('https://example.org/" onclick="x', ""),
        ("arXiv:2304.07193/../..", ""),
    ],
)
def test_only_safe_addresses_become_links(reference, expected):
    assert address(reference) == expected
