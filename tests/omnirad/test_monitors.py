"""Monitors on cases worked out by hand, and test 20: a run without centring sets them off."""

from __future__ import annotations

import json
import math

import pytest
import torch

from omnirad import student_teacher
from omnirad.errors import RunFailed
from omnirad.loop import pretrain
from omnirad.losses import Targets
from omnirad.monitors import Monitors, cls_std, patch_similarity, rank_me

K = 64
HEALTHY = {
    "dino": 3.0,
    "target_entropy": 0.6,
    "marginal_entropy": 0.9,
    "prototype_usage": 0.5,
    "cls_std": 0.8,
    "rank_cls": 40.0,
}


def monitors(**options):
    return Monitors(K, **({"armed_from": 0} | options))


def test_rank_counts_directions_and_is_one_for_equal_features():
    assert rank_me(torch.eye(16)) == pytest.approx(16, rel=1e-4)
    assert rank_me(torch.ones(16, 8)) == pytest.approx(1, rel=1e-4)
    # singular values 3 and 1: shares 3/4 and 1/4
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert rank_me(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected, rel=1e-4)


def test_rank_is_of_uncentred_features():
    far = torch.randn(64, 8, generator=torch.Generator().manual_seed(0)) + 100
    assert rank_me(far) < 1.5
    assert rank_me(far - far.mean(dim=0)) > 7


def test_spread_is_one_on_the_whole_sphere_and_zero_where_all_is_equal():
    everywhere = torch.randn(5000, 32, generator=torch.Generator().manual_seed(0))
    assert cls_std(everywhere) == pytest.approx(1, abs=0.02)
    assert cls_std(torch.ones(10, 32)) == 0
    # Untrained features at the training recipe's LayerScale: one vector and a little noise
    assert cls_std(1 + 1e-5 * everywhere) < 1e-4


def test_mean_cosines_are_those_of_a_double_loop():
    generator = torch.Generator().manual_seed(0)
    cls, patches = torch.randn(3, 8, generator=generator), torch.randn(3, 5, 8, generator=generator)
    cosine = torch.nn.functional.cosine_similarity
    pairs = [
        float(cosine(patches[b, i], patches[b, j], dim=0))
        for b in range(3)
        for i in range(5)
        for j in range(5)
        if i != j
    ]
    with_cls = [float(cosine(cls[b], patches[b, i], dim=0)) for b in range(3) for i in range(5)]
    found = patch_similarity(cls, patches)
    assert found["patch_patch_cosine"] == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)
    assert found["cls_patch_cosine"] == pytest.approx(sum(with_cls) / len(with_cls), abs=1e-6)


def test_a_healthy_run_sets_nothing_off():
    watched = monitors()
    assert [watched.judge(step, HEALTHY) for step in range(5)] == [[]] * 5


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("targets_sharp", {"target_entropy": 0.01}),
        ("marginal", {"marginal_entropy": 0.19}),
        ("usage", {"prototype_usage": 0.009}),
        ("cls_std", {"cls_std": 0.09}),
        ("rank", {"rank_cls": 19.0}),
    ],
)
def test_an_alarm_warns_twice_and_ends_the_run_at_the_third_time(name, bad, caplog):
    watched = monitors()
    watched.judge(0, HEALTHY)
    assert watched.judge(1, HEALTHY | bad) == [name]
    assert watched.judge(2, HEALTHY | bad) == [name]
    assert "step 2" in caplog.text and "(2 in a row)" in caplog.text
    with pytest.raises(RunFailed, match=r"step 3: .*, 3 times in a row: the features collapse"):
        watched.judge(3, HEALTHY | bad)


def test_a_good_step_between_clears_the_strikes():
    watched = monitors()
    for step in range(9):
        watched.judge(step, HEALTHY | ({} if step % 3 == 2 else {"cls_std": 0.05}))


def test_uniform_targets_only_warn_since_healthy_runs_begin_with_them():
    watched = monitors()
    uniform = {"dino": math.log(K) * 1.004, "target_entropy": 0.99}
    for step in range(6):
        assert watched.judge(step, HEALTHY | uniform) == ["loss_uniform", "targets_uniform"]


def test_nothing_is_an_alarm_before_the_end_of_warm_up():
    watched = monitors(armed_from=100)
    for step in range(0, 100, 10):
        assert watched.judge(step, HEALTHY | {"cls_std": 0.0}) == []
    assert watched.judge(100, HEALTHY | {"cls_std": 0.0}) == ["cls_std"]


def test_restored_monitors_judge_like_those_that_went_on():
    first = monitors()
    first.judge(0, HEALTHY)
    first.judge(1, HEALTHY | {"rank_cls": 10.0})
    second = monitors()
    second.load_state_dict(first.state_dict())
    assert second.judge(2, HEALTHY | {"rank_cls": 10.0}) == ["rank"]
    with pytest.raises(RunFailed, match="the best was 40"):
        second.judge(3, HEALTHY | {"rank_cls": 10.0})


DRILL = {
    "epochs": 20,
    "save_every": 100,
    "base_lr": 3e-3,
    "koleo_weight": 0.0,
    "high_res_share": 0.0,
}


def test_a_run_without_centring_and_momentum_is_stopped(tiny_job, narrow_nano, monkeypatch):
    """Test 20, the collapse drill."""
    pretrain(tiny_job("healthy", **DRILL | {"koleo_weight": 0.1}))  # does not raise

    def uncentred(self, logits, kind):
        return Targets(logits, torch.zeros_like(logits.prototypes[:, 0]))

    monkeypatch.setattr(student_teacher.StudentTeacher, "_centred", uncentred)
    job = tiny_job("drill", **DRILL, momentum=0.0, momentum_end=0.0)
    with pytest.raises(RunFailed, match="3 times in a row: the features collapse"):
        pretrain(job)
    rows = [json.loads(line) for line in (job.out / "log.jsonl").read_text().splitlines()]
    alarms = [name for row in rows for name in row.get("alarms", [])]
    assert {"marginal", "targets_sharp"} & set(alarms)
