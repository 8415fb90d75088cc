"""A wrong folder for WordNet is said before anything is read or trained."""

from __future__ import annotations

import pytest

from omnibench.errors import SetupError
from omnibench_plugins.tasks.caption.recipe import QUICK
from omnibench_plugins.tasks.caption.task import Captioning


def test_a_wrong_wordnet_folder_costs_no_training(
    vit_handle, fields, bart_context, tmp_path, monkeypatch
):
    monkeypatch.setenv("OMNIBENCH_WORDNET", str(tmp_path / "wordnt"))
    dataset = fields()
    dataset.splits.clear()  # reading data would fail otherwise
    with pytest.raises(SetupError, match="wordnt: this folder lacks 12 of WordNet's 12 files"):
        next(Captioning().run(vit_handle(), dataset, QUICK, bart_context))
