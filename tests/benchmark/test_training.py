"""The supervised loop: what is trained, kept and drawn."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from omnibench.errors import RunFailed
from omnibench.interfaces import RunContext
from omnibench.training import Optimisation, fit

X = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]])
QUICK = Optimisation(epochs=4, batch_size=8, lr=0.1, weight_decay=0.0)


def small() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))


def trained(model, optimisation=QUICK, *, seed=0, scores=None, batches=None, **changes):
    """Fit a regression; `scores` replaces validation, `batches` collects what was drawn."""
    told = iter(scores or [])

    def loss(index, draws):
        if batches is not None:
            batches.append((index.tolist(), float(torch.rand(1, generator=draws))))
        return F.mse_loss(model(X[index]), Y[index])

    def validate():
        return next(told) if scores else -float(F.mse_loss(model(X), Y).detach())

    return fit(
        model,
        samples=len(X),
        loss=loss,
        validate=validate,
        optimisation=optimisation,
        context=RunContext(seed=seed),
        order="toy",
        **changes,
    )


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_training_learns_and_leaves_the_model_in_eval_mode():
    model = small()
    result = trained(model, Optimisation(epochs=60, batch_size=8, lr=0.05, weight_decay=0.0))
    assert result.losses[-1] < 0.1 * result.losses[0]
    assert not model.training
    kept = -float(F.mse_loss(model(X), Y).detach())
    assert kept == pytest.approx(result.best_score) == pytest.approx(max(result.scores))


@pytest.mark.parametrize(("ties", "expected"), [("first", 1), ("last", 2)])
def test_the_best_epoch_is_kept_with_its_batch_statistics(ties, expected):
    model = small()
    result = trained(model, scores=[0.1, 0.7, 0.7, 0.3], ties=ties)
    assert (result.best_epoch, result.best_score) == (expected, 0.7)
    shorter = small()
    trained(
        shorter, Optimisation(**{**vars(QUICK), "epochs": expected + 1}), scores=[0.1, 0.2, 0.3]
    )
    assert not changed(state(model), state(shorter)), "parameters and statistics of that epoch"
    longer = small()
    trained(longer, scores=[0.1, 0.2, 0.3, 0.4])
    assert changed(state(model), state(longer)) >= {"0.weight", "1.running_mean"}


def test_frozen_parameters_stay_as_they_are():
    model = small()
    model[0].requires_grad_(False)
    before = state(model)
    trained(model)
    assert changed(before, state(model)) >= {"2.weight", "2.bias"}
    assert not changed(before, state(model)) & {"0.weight", "0.bias"}


def test_batches_and_draws_depend_on_seed_and_epoch_alone():
    one, two, other, small_steps = [], [], [], []
    trained(small(), batches=one)
    trained(small(), batches=two, optimisation=Optimisation(**{**vars(QUICK), "lr": 0.001}))
    trained(small(), batches=other, seed=1)
    assert one == two and one != other
    assert sorted(i for batch, _ in one[:3] for i in batch) == list(range(20))
    assert [len(batch) for batch, _ in one[:3]] == [8, 8, 4]
    assert one[:3] != one[3:6]
    trained(small(), batches=small_steps, optimisation=Optimisation(**{**vars(QUICK), "epochs": 2}))
    assert small_steps == one[:6], "an epoch draws the same however many follow"


def test_without_a_limit_gradients_are_not_clipped_and_a_tiny_one_changes_the_course():
    """AdamW forgets the scale of constant gradients, not of a norm that varies."""
    free, loose, tight = small(), small(), small()
    trained(free)
    trained(loose, Optimisation(**{**vars(QUICK), "clip_norm": 1e9}))
    trained(tight, Optimisation(**{**vars(QUICK), "clip_norm": 0.01}))
    assert not changed(state(free), state(loose))
    assert "2.weight" in changed(state(free), state(tight))


def test_rates_rise_linearly_and_fall_along_a_cosine():
    cosine = Optimisation(
        epochs=6, batch_size=1, lr=1.0, weight_decay=0.0, warmup_epochs=2, decay="cosine"
    )
    found = [cosine.lr_at(epoch) for epoch in range(6)]
    assert found == pytest.approx([0.01, 0.505, 1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert [QUICK.lr_at(epoch) for epoch in range(4)] == [0.1] * 4


def test_warm_up_may_have_a_limit_of_its_own():
    both = Optimisation(
        **{**vars(QUICK), "warmup_epochs": 2, "clip_norm": 1.0, "warmup_clip_norm": 0.5}
    )
    assert [both.clip_at(epoch) for epoch in range(3)] == [0.5, 0.5, 1.0]
    assert QUICK.clip_at(0) is None


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_step():
    model = small()
    with torch.no_grad():
        model[2].bias.fill_(float("nan"))
    with pytest.raises(RunFailed, match="became nan in epoch 1, step 1; try a smaller") as caught:
        trained(model)
    assert caught.value.kind == "nan_loss"
