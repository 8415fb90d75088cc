"""Test 3: the projection head and its prototypes."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from omnirad.heads import ProjectionHead


def head(**options) -> ProjectionHead:
    torch.manual_seed(0)
    return ProjectionHead(24, 40, hidden=32, bottleneck=16, **options)


def features(rows: int = 10) -> torch.Tensor:
    return torch.randn(rows, 24, generator=torch.Generator().manual_seed(1))


def test_logits_are_cosines_while_gains_are_one():
    h = head()
    logits = h(features()) @ h.prototypes().T
    directions = h.last_layer.parametrizations.weight.original1
    cosines = F.cosine_similarity(h.mlp(features())[:, None], directions[None], dim=2)
    assert torch.allclose(logits, cosines, atol=1e-6)
    assert logits.abs().max() <= 1 + 1e-6


def test_the_mlp_has_as_many_layers_as_asked_and_no_bias_on_the_prototypes():
    for layers, widths in ((1, [(16, 24)]), (3, [(32, 24), (32, 32), (16, 32)])):
        linears = [m for m in head(layers=layers).mlp if isinstance(m, torch.nn.Linear)]
        assert [tuple(m.weight.shape) for m in linears] == widths
        assert all(not m.bias.any() and 0.015 < m.weight.std() < 0.025 for m in linears)
    assert head().last_layer.bias is None


def test_parameters_are_as_many_as_the_specification_counts():
    """Section 1: MLP 5.5 M (S) and 6.3 M (B), last layer 33.6 M."""
    for width, millions in ((384, 5.5), (768, 6.3)):
        with torch.device("meta"):
            paper = ProjectionHead(width, 131072)
        assert sum(p.numel() for p in paper.mlp.parameters()) / 1e6 == pytest.approx(
            millions, abs=0.05
        )
        assert paper.last_layer.parametrizations.weight.original1.numel() / 1e6 == pytest.approx(
            33.6, abs=0.05
        )


@pytest.mark.parametrize("norm_last_layer", [False, True])
def test_gradients_reach_prototypes_and_their_gain_unless_it_is_fixed(norm_last_layer):
    h = head(norm_last_layer=norm_last_layer)
    (h(features()) @ h.prototypes().T).pow(2).sum().backward()
    weight = h.last_layer.parametrizations.weight
    assert weight.original1.grad.abs().sum() > 0
    assert all(layer.weight.grad.abs().sum() > 0 for layer in h.mlp if hasattr(layer, "weight"))
    assert weight.original0.requires_grad is not norm_last_layer
    assert (weight.original0.grad is None) is norm_last_layer


def test_vectors_stay_fp32_under_autocast():
    with torch.autocast("cpu", dtype=torch.bfloat16):
        vectors = head()(features())
    assert vectors.dtype == torch.float32
    assert torch.allclose(vectors.norm(dim=1), torch.ones(10), atol=1e-6)
