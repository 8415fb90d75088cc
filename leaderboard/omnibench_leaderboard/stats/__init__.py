"""Statistics: pure functions from runs to statements, on numpy and scipy alone.

| file | answers |
|---|---|
| `statistic.py`, `classification.py`, `segmentation.py`, `captioning.py`, `metric.py` | what would the metric be, had other cases been drawn? |
| `flags.py` | what a reader must know; the verdicts |
| `cells.py`, `bootstrap.py` | which runs and cases are there; drawing cases and clusters |
| `estimate.py`, `crossed.py` | how sure is a mean or a difference, over seeds and cases? |
| `permutation.py`, `delong.py` | per-case tests of trained heads |
| `ttests.py`, `rounding.py` | the paper's tests, also from printed summaries |
| `equivalence.py`, `effects.py`, `multiplicity.py` | margins, sizes, families |
| `comparison.py`, `panel.py`, `hierarchical.py` | encoders on one dataset, and the five verdicts |
| `across.py`, `friedman.py`, `bayes.py` | encoders across datasets |
| `ranks.py` | how stable is a rank? |

Differences and margins are on the metric's own scale (fractions, not percent points). Random
numbers come from generators derived from content (`randomness.py`): equal records, equal bytes.
"""
