"""Boards made by hand: every feature that outputs show, and names that try to break out of them."""

from __future__ import annotations

from dataclasses import replace

from omnibench_leaderboard.board import (
    Across,
    Board,
    Cell,
    Column,
    Comparison,
    Cost,
    DatasetFacts,
    Encoder,
    Methods,
    Overall,
    Published,
    Standing,
)
from omnibench_leaderboard.runs import Exclusion, Setting

# statistics.md section 5, row 22: HTML, attributes, scripts, SVG, LaTeX, Markdown, formulas, rich
# markup, terminal codes and bidirectional overrides.
HOSTILE = (
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</style><style>*{display:none}</style>",
    "</title><svg onload=alert(1)>",
    "</svg><foreignObject>",
    "]]><!ENTITY x SYSTEM 'file:///etc/passwd'>",
    "<!--",
    "-->",
    "<a href='javascript:alert(1)'>x</a>",
    '" onmouseover="alert(1)',
    "' autofocus onfocus='alert(1)",
    "`onload=alert(1)`",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "&lt;b&gt; &amp; &#60;",
    "{{ 7 * 7 }}",
    "{% include '/etc/passwd' %}",
    "${7*7} #{7*7}",
    "\\input{/etc/passwd}",
    "\\write18{touch owned}",
    "\\def\\x{\\x}\\x",
    "$\\infty$",
    "$$ x ^ 2 $$",
    "50% off & more \\\\ \\hline",
    "a_b^c~d#e",
    "{unbalanced",
    "unbalanced}",
    "\\end{tabular}\\end{table}",
    "\\",
    "--- dashes -- and !` ?`",
    "| pipe | table |",
    "**bold** __bold__ *it* _it_",
    "[text](http://evil.example)",
    "![image](http://evil.example/x.png)",
    "[ref]: http://evil.example",
    "<http://evil.example>",
    "http://evil.example",
    "www.evil.example",
    "@someone and #1",
    "# heading",
    "- [ ] task",
    "1. numbered",
    "2) numbered",
    "+ listed",
    "=== ruled",
    "--- ruled",
    "someone@evil.example",
    "> quote",
    "~~struck~~",
    "`code`",
    "```",
    "two\nlines\n\n# heading",
    "tab\there",
    "=1+1",
    "+1+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    '=HYPERLINK("http://evil.example","x")',
    "＝1+1",
    'quote " comma, newline\n',
    "'apostrophe",
    "[red]rich[/red]",
    "[link=http://evil.example]x[/link]",
    "a[/]b",
    "\x1b[2Jcleared",
    "\x1b]8;;http://evil.example\x07x\x1b]8;;\x07",
    "\u202egnp.exe\u202c",
    "\u2066isolated\u2069",
    "null\x00byte",
    "../../etc/passwd",
    "C:\\windows\\con",
    "Zürich é ñ ø ß ł 日本 🧠",
)
NAMES = ("encoder-a", "encoder-b", "encoder-c")


def setting(dataset: str, task: str = "seg") -> Setting:
    """Return a setting of one dataset."""
    return Setting(task=task, dataset=dataset, recipe="paper", tuning="frozen")


def encoder(label: str, **changes: object) -> Encoder:
    """Return a row."""
    made = Encoder(
        label=label,
        name=label,
        plugin="omnibench",
        weights="official",
        weights_sha256="ab" * 32,
        family="ViT",
        licence="Apache-2.0",
        commercial=True,
        paper="arXiv:2304.07193",
        repository="org/repo",
        revision="",
    )
    return replace(made, **changes)


def comparison(other: str, difference: float, verdict: str) -> Comparison:
    """Return a comparison with an interval of one point to each side."""
    return Comparison(
        other=other,
        difference=difference,
        interval=(difference - 0.01, difference + 0.01),
        p=0.0123,
        p_adjusted=0.0246,
        family=2,
        method="crossed seeds x cases",
        verdict=verdict,
        within_margin=False,
        effect=-1.5,
        detectable=0.02,
        flags=("LOW_N",),
    )


def cell(label: str, place: int, best: str, tied: bool) -> Cell:
    """Return the cell of the encoder at a place, 0 is best."""
    mean = 0.9 - 0.031 * place
    verdict = "not separated" if tied else "worse"
    return Cell(
        encoder=label,
        mean=mean,
        sd=0.004,
        seeds=(0, 1, 2),
        values=(mean - 0.004, mean, mean + 0.004),
        missing=(3,) if place == 1 else (),
        interval=(mean - 0.02, mean + 0.02),
        rank=place + 1,
        tied=tied,
        rank_interval=(1, 2) if tied else (place + 1, place + 1),
        against_best=comparison(best, -0.031 * place, verdict) if place else None,
        against_reference=None,
        flags=("RANDOM: random weights, a floor to compare with",) if place == 2 else (),
        evidence=1,
        records=tuple(f"runs/ab/{'ab' * 32}/{seed:064x}.json" for seed in range(3)),
        command=f"omnibench run --encoder e{place} --task seg",
        device="cpu",
        precision="fp32",
        cost=Cost(
            params_total=22_000_000 * (place + 1),
            params_trainable=770,
            flops_per_image=9_000_000_000,
            images_per_second=20.0 / (place + 1),
            seconds=60.0 * (place + 1),
            peak_memory_bytes=2**30,
            gpu=None,
        ),
    )


def column(
    dataset: str, labels: tuple[str, ...], *, ties: int, metric: str = "miou_dataset@448"
) -> Column:
    """Return a headline column; the first `ties` encoders are not separated from the best."""
    return Column(
        setting=setting(dataset),
        metric=metric,
        unit="fraction",
        higher_is_better=True,
        headline=True,
        cases=129,
        clusters=None,
        margin=0.01,
        best=labels[0],
        dataset=DatasetFacts(
            kind="masks",
            modality="ultrasound",
            licence="CC BY-NC 4.0",
            commercial=False,
            source_url="https://example.org/data",
            citation="10.1038/s41597-022-01721-8",
            content_sha256="cd" * 32,
        ),
        notes=("data for non-commercial use",),
        cells=tuple(
            cell(label, place, labels[0], place < max(ties, 1))
            for place, label in enumerate(labels)
        ),
        published=(
            Published(
                encoder="encoder-a",
                source="Somebody 2026, Table 9",
                metric=metric,
                printed_metric="mIoU",
                value=0.7753,
                sd=0.0136,
            ),
            Published(
                encoder="unet",
                source="Somebody 2026, Table 9",
                metric="iou_fg_image@native",
                printed_metric="IoU",
                value=0.624,
                sd=None,
                reason="not comparable, because another metric was printed",
            ),
        ),
    )


def overall(labels: tuple[str, ...], datasets: tuple[str, ...]) -> Overall:
    """Return a ranking in the order of the labels."""
    count = len(labels)
    return Overall(
        setting=setting(""),
        metric="miou_dataset@448",
        unit="fraction",
        higher_is_better=True,
        datasets=datasets,
        left_out=(),
        chi2=4.0,
        f=3.0,
        p=0.04,
        critical_difference=1.2,
        labels=tuple(sorted(labels)),
        nemenyi=tuple((1.0,) * count for _ in labels),
        cliques=(labels[:2],),
        standings=tuple(
            Standing(
                encoder=label,
                mean=0.9 - 0.03 * place,
                mean_rank=1.0 + place,
                rank=place + 1,
                first=1.0 / (place + 1),
                rank_low=max(1, place),
                rank_high=min(count, place + 2),
                first_by_cases=0.5,
                first_by_seeds=None,
            )
            for place, label in enumerate(labels)
        ),
        against=(
            Across(
                encoder=labels[0],
                reference=labels[-1],
                metric="miou_dataset@448",
                datasets=len(datasets),
                wins=2,
                ties=0,
                losses=0,
                difference=0.05,
                interval=(0.01, 0.09),
                hodges_lehmann=0.05,
                method="wilcoxon",
                p=0.5,
                p_adjusted=0.5,
                family=1,
                tost_p=None,
                probabilities=None,
                verdict="not testable",
                flags=("FEW_DATASETS 2",),
            ),
        ),
        winners_without=((labels[0],),),
        tau=0.8,
        flags=("FEW_DATASETS 2",),
    )


def board(
    labels: tuple[str, ...] = NAMES, datasets: tuple[str, ...] = ("busi", "promise12")
) -> Board:
    """Return a board: the best is separated on the first dataset, tied with one on the second."""
    changes: list[dict[str, object]] = [
        {},
        {"licence": "CC-BY-NC-4.0, non-commercial", "commercial": False},
        {"weights": "random"},
    ]
    columns = []
    for place, dataset in enumerate(datasets):
        headline = column(dataset, labels, ties=1 + place)
        other = replace(headline, metric="dice_dataset@448", headline=False, published=())
        columns += [headline, other]
    return Board(
        reference=None,
        encoders=tuple(encoder(label, **changes[place % 3]) for place, label in enumerate(labels)),
        columns=tuple(columns),
        overall=(overall(labels, datasets),),
        missing=("encoder-b · seg · busi · seed 3: failed (oom)",),
        exclusions=(Exclusion(what="notes.json", kind="foreign", reason="not a record"),),
        methods=Methods(
            texts=("Intervals cross seeds with cases.",),
            flags=(("LOW_N", "fewer than five common seeds"), ("RANDOM", "random weights")),
            versions=(("scipy", "1.17.1"),),
        ),
    )


def hostile() -> Board:
    """Return a board in which every text that a stranger chooses tries to break out."""
    made = board(HOSTILE)
    texts = iter(HOSTILE * 4)
    facts = {name: next(texts) for name in ("kind", "modality", "licence", "citation")}
    address = "javascript:alert(1)"
    columns = [
        replace(
            each,
            setting=replace(each.setting, recipe="paper '<b>' & $x$ | =1"),
            dataset=replace(each.dataset, **facts, source_url=address),
            notes=HOSTILE,
            cells=tuple(
                replace(c, command=c.encoder, flags=(c.encoder,), device=c.encoder)
                for c in each.cells
            ),
            published=tuple(
                replace(p, encoder=next(texts), source=next(texts)) for p in each.published
            ),
        )
        for each in made.columns
    ]
    rows = [
        replace(e, licence=e.label, family=e.label, paper=address, repository=e.label)
        for e in made.encoders
    ]
    return replace(
        made,
        encoders=tuple(rows),
        columns=tuple(columns),
        overall=(),
        missing=HOSTILE,
        exclusions=tuple(Exclusion(what=t, kind="foreign", reason=t) for t in HOSTILE),
        methods=replace(made.methods, texts=HOSTILE),
    )
