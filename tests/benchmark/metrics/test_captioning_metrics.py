"""Captioning metrics: golden values, agreement with the libraries that define them, odd texts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu
from nltk.translate.meteor_score import meteor_score
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from torchmetrics.functional.text import bleu_score, rouge_score

from omnibench.errors import IntegrityError
from omnibench.metrics import bleu, captioning, meteor
from omnibench.metrics.wordnet import NoSynonyms

# statistics.md, G23.
CAPTIONS = [
    "ct scan showing a mass in the right lung .",
    "chest x - ray showing bilateral pleural effusion .",
]
REFERENCES = [
    ["ct scan of the chest showing a mass in the right upper lobe of the lung ."],
    ["chest radiograph showing bilateral pleural effusions and cardiomegaly ."],
]
WORDS = (
    "the a of in right left lung lungs mass chest CT scan scans X-ray showing shows effusion, "
    "pleural (arrow) 2.5 cm axial; upper-lobe don't radiograph. hydro-aériques tumour Fig. %"
)
PLAIN = "the a of in right left lung mass chest scan showing effusion upper lobe tumor"


def predictions(captions: Sequence[str], references: Sequence[Sequence[str]], split="test"):
    width = max(map(len, references))
    return {
        f"{split}_id": np.arange(len(captions)),
        f"{split}_captions": np.array(captions),
        f"{split}_references": np.array([[*r, *[""] * (width - len(r))] for r in references]),
    }


def values(captions: Sequence[str], references: Sequence[Sequence[str]]) -> dict[str, float]:
    return {m.id: m.value for m in captioning.metrics(predictions(captions, references))}


def random_texts(seed: int, vocabulary: str = WORDS) -> tuple[list[str], list[list[str]]]:
    """40 captions of 0 to 12 words, each with 1 to 3 references."""
    rng, words = np.random.default_rng(seed), vocabulary.split()
    captions, references = [], []
    for _ in range(40):
        base = rng.choice(words, size=rng.integers(0, 13)).tolist()
        captions.append(" ".join(base))
        kept = [[w for w in base if rng.random() < 0.7] for _ in range(rng.integers(1, 4))]
        references.append([" ".join([*k, *rng.choice(words, size=3)]) for k in kept])
    return captions, references


def test_golden_values_of_the_specification() -> None:
    found = values(CAPTIONS, REFERENCES)
    expected = {
        "bleu_1": 0.546178,
        "bleu_2": 0.447262,
        "bleu_3": 0.358647,
        "bp": 0.691826,
        "p1": 15 / 19,
        "p2": 9 / 17,
        "p3": 5 / 15,
        "p4": 3 / 13,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6)
    assert found["bleu"] == pytest.approx(0.2929501625, abs=1e-10)
    assert found["meteor_nosyn"] == pytest.approx((0.575153 + 0.625) / 2, abs=1e-6)
    assert captioning.rouge_l_cases(CAPTIONS, REFERENCES) == pytest.approx(
        [0.72, 0.533333], abs=1e-6
    )
    assert bleu.counts(CAPTIONS, REFERENCES).tolist() == [
        [10, 7, 4, 3, 10, 9, 8, 7, 10, 17],
        [5, 2, 1, 0, 9, 8, 7, 6, 9, 9],
    ]


def test_capitals_matter_to_bleu_but_not_to_meteor() -> None:
    text = "Axial CT shows a mass in the lung"
    same, lower = values([text], [[text]]), values([text.replace("CT", "ct")], [[text]])
    assert same["bleu"] == 1 > lower["bleu"]
    assert same["meteor_nosyn"] == lower["meteor_nosyn"]


def test_a_perfect_meteor_is_below_one() -> None:
    # statistics.md 2.3: 0.997685 for six words; the penalty of one chunk stays.
    text = "a mass in the right lung"
    assert values([text], [[text]])["meteor_nosyn"] == pytest.approx(0.997685, abs=1e-6)


@pytest.mark.parametrize(
    ("caption", "reference", "score"),
    [
        # statistics.md 2.4 and data_and_weights.md 4, without synonyms.
        (
            "picture demonstrates a big tumor in the lung",
            "image shows a large tumour in the lung",
            0.46875,
        ),
        ("the tumour is large", "the tumor is big", 0.25),
    ],
)
def test_meteor_without_synonyms(caption: str, reference: str, score: float) -> None:
    assert meteor.cases([caption], [[reference]], NoSynonyms()) == pytest.approx([score], abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_bleu_of_counts_is_that_of_sacrebleu(seed: int) -> None:
    captions, references = random_texts(seed)
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(3)]
    found = values(captions, references)
    for order, name in ((1, "bleu_1"), (2, "bleu_2"), (3, "bleu_3"), (4, "bleu")):
        metric = BLEU(tokenize="13a", smooth_method="none", max_ngram_order=order)
        expected = metric.corpus_score(captions, streams)
        assert found[name] == pytest.approx(expected.score / 100, abs=1e-12)
        assert found[f"p{order}"] == pytest.approx(expected.precisions[-1] / 100, abs=1e-12)
        assert found["bp"] == pytest.approx(expected.bp, abs=1e-12)
    assert bleu.signature(references) == str(metric.get_signature())
    assert "nrefs:var" in bleu.signature(references)


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_any_cases_give_the_bleu_of_these_cases(seed: int) -> None:
    captions, references = random_texts(seed)
    rows = bleu.counts(captions, references)
    some = np.random.default_rng(seed).integers(0, len(captions), 60)  # as a bootstrap draws
    drawn = {m.id: m.value for m in bleu.metrics_from_counts(rows[some])}
    again = values([captions[i] for i in some], [references[i] for i in some])
    assert all(drawn[name] == again[name] for name in drawn)


@pytest.mark.parametrize("seed", range(3))
def test_other_libraries_agree_where_they_define_the_same(seed: int) -> None:
    # Plain words, one reference, four words or more: else NLTK counts n-grams that are not
    # there, and torchmetrics takes another of two references that are equally near in length.
    cases = zip(*random_texts(seed, PLAIN), strict=True)
    kept = [(c, r[:1]) for c, r in cases if len(c.split()) >= 4]
    captions, references = [c for c, _ in kept], [r for _, r in kept]
    assert len(captions) > 20
    found = values(captions, references)
    assert found["bleu"] == pytest.approx(float(bleu_score(captions, references)), abs=1e-6)
    tokens = [[r.split() for r in of_case] for of_case in references]
    assert found["bleu"] == pytest.approx(
        corpus_bleu(tokens, [c.split() for c in captions]), abs=1e-9
    )
    theirs = rouge_score(captions, references, accumulate="best", rouge_keys="rougeL")
    assert found["rouge_l"] == pytest.approx(float(theirs["rougeL_fmeasure"]), abs=1e-6)


@pytest.mark.parametrize("seed", range(2))
def test_rouge_and_meteor_are_those_of_their_libraries(seed: int) -> None:
    captions, references = random_texts(seed)
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    rouge = [
        scorer.score_multi(r, c)["rougeL"].fmeasure
        for c, r in zip(captions, references, strict=True)
    ]
    assert captioning.rouge_l_cases(captions, references) == pytest.approx(rouge, abs=1e-12)
    ours = meteor.cases(captions, references, NoSynonyms())
    theirs = [
        meteor_score([meteor.words(t) for t in r], meteor.words(c), wordnet=NoSynonyms())
        for c, r in zip(captions, references, strict=True)
    ]
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_words_end_at_full_stops_inside_a_caption() -> None:
    assert meteor.words("Axial CT. A 2.5 cm mass (arrow).") == (
        *("Axial", "CT", ".", "A", "2.5", "cm", "mass", "(", "arrow", ")", "."),
    )


def test_empty_captions_score_nothing() -> None:
    found = values(["", "  "], [["a mass in the lung"], ["x"]])
    assert {name for name, value in found.items() if value != 0} == set()
    half = meteor.cases(["", "a mass"], [["a mass"], ["a mass"]], NoSynonyms())
    assert half[0] == 0 < half[1]


@pytest.mark.parametrize(
    "text", ["肺癌", "œdème pulmonaire", "effusion", ".", "🫁 mass", "a" * 5000]
)
def test_odd_texts_do_not_crash(text: str) -> None:
    found = values([text, "one"], [[text], ["another text"]])
    assert all(0 <= value <= 1 for value in found.values())


def test_texts_without_a_common_four_gram_have_no_bleu() -> None:
    found = values(["a mass in lung"], [["a mass in the lung"]])
    assert found["bleu"] == 0 < found["bleu_3"]


def test_the_best_of_several_references_counts() -> None:
    several = values(["a mass in the lung"], [["nothing", "a mass in the lung", ""]])
    one = values(["a mass in the lung"], [["a mass in the lung"]])
    assert several == one


def test_signatures_and_versions_are_told() -> None:
    facts = captioning.facts(predictions(CAPTIONS, REFERENCES))
    assert facts["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:none|version:")
    assert "not stemmed" in facts["rouge_l"] and "alpha 0.9" in facts["meteor"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_captions": None}, "hold no test_captions;"),
        ({"test_id": None, "test_references": None}, "hold no test_id, test_references"),
        ({"test_captions": np.array(["a"])}, "2 ids .2 different., 1 captions and 2 rows"),
        ({"test_id": np.array([4, 4])}, "2 ids .1 different."),
        ({"test_references": np.array(["a", "b"])}, "texts .N, R. with at least one case"),
        ({"test_captions": np.array([1, 2])}, "texts .N. and texts"),
        ({"test_references": np.array([["a"], [" "]])}, "1 of 2 cases of split 'test'.*first is 1"),
    ],
)
def test_contradictory_arrays_are_refused(change: dict, message: str) -> None:
    arrays = predictions(CAPTIONS, REFERENCES) | change
    with pytest.raises(IntegrityError, match=message):
        captioning.metrics({k: v for k, v in arrays.items() if v is not None})


def test_validation_texts_are_scored_under_their_own_name() -> None:
    arrays = predictions(CAPTIONS, REFERENCES, split="val")
    assert captioning.metrics(arrays, "val")[0].id == "bleu"
    with pytest.raises(IntegrityError, match="no test_id"):
        captioning.metrics(arrays)


def test_scoring_needs_no_torch() -> None:
    code = "import sys, omnibench.metrics.captioning; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
