"""Gradients of the parts, and weights of positions, against dense formulas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from reclib.analysis.msl import gradients, steps
from tests.analysis.bench import PROFILE, workbench


def batch() -> dict:
    bench = workbench()
    return steps.all_positions(bench, bench.dataset.train.take(range(5)))


def dense_parts(inputs: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """(𝓛¹, 𝓛²) from full logits and a dense mask of valid tokens, sums over a title, mean over samples."""
    lm, targets = workbench().lm, inputs["targets"]
    logits = lm(**inputs["model_inputs"]) @ lm.output_embedding.T
    mask = torch.zeros_like(logits, dtype=torch.bool)
    mask[torch.arange(len(logits)), targets.target] = True
    valid = targets.valid
    for place, row in enumerate(targets.counted):
        mask[row, valid.union[valid.column[valid.row_start[place] : valid.row_start[place + 1]]]] = True
    over_valid = logits.masked_fill(~mask, -torch.inf).logsumexp(-1)
    target = logits[torch.arange(len(logits)), targets.target]
    parts = (logits.logsumexp(-1) - over_valid).sum(), (over_valid - target).sum()
    return parts[0] / targets.n_samples, parts[1] / targets.n_samples


def test_norms_equal_those_of_the_dense_parts() -> None:
    lm, inputs = workbench().with_adapter(None), batch()
    with torch.no_grad():
        for name, weight in lm.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    found = gradients.part_gradient_norms(lm(**inputs["model_inputs"]), lm, inputs["targets"])
    weights = [weight for weight in lm.parameters() if weight.requires_grad]
    for name, part in zip(("lml_valid", "lml_item"), dense_parts(inputs), strict=True):
        norm = torch.cat([g.flatten() for g in torch.autograd.grad(part, weights, retain_graph=True)]).norm()
        assert found[name] == pytest.approx(part.item(), rel=1e-4)
        assert found[f"gradient_{name}"] == pytest.approx(norm.item(), rel=1e-3)
    workbench().reset_adapter()


def test_weights_equal_one_minus_the_dense_probability() -> None:
    lm, inputs = workbench().with_adapter(None), batch()
    table = gradients.position_weights(lm, inputs, temperatures=(1.0, 3.0))
    targets = inputs["targets"]
    with torch.no_grad():
        logits = lm(**inputs["model_inputs"]) @ lm.output_embedding.T
    p = logits.softmax(-1)[torch.arange(len(logits)), targets.target]
    assert table["lml"].to_numpy() == pytest.approx((1 - p).numpy(), abs=1e-5)
    assert (table.loc[table["is_forced"], ["msl", "msl_3"]] == 0).all(axis=None)
    assert (table["msl"] <= table["lml"] + 1e-6).all(), "fewer terms in the denominator"
    assert table["position"].min() == 1


def test_a_probe_measures_as_asked_and_changes_nothing(tmp_path: Path) -> None:
    bench, traces, adapters = workbench(), {}, {}
    for every in (0, 1):
        folder = tmp_path / str(every)
        folder.mkdir()
        config = steps.TunedConfig(data=PROFILE.data, lm=PROFILE.lm, tune=PROFILE.tune, probe_every=every)
        traces[every] = steps.fine_tune_step(config, seed=0, workdir=folder, bench=bench)["trace"]
        adapters[every] = (folder / "adapter.safetensors").read_bytes()
    assert adapters[0] == adapters[1]
    norms = traces[1].query("name == 'probe_gradient_lml_valid'")
    assert norms["step"].tolist() == [0, 1, 2]
    assert (norms["value"] > 0).all()
    plain = traces[1][~traces[1]["name"].str.startswith("probe_")]
    timed = ["seconds"]
    pd.testing.assert_frame_equal(
        plain[~plain["name"].isin(timed)].reset_index(drop=True),
        traces[0][~traces[0]["name"].isin(timed)].reset_index(drop=True),
    )
