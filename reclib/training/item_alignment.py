"""A-LLMRec, stage 1: train `AlignedItems` on windows, a target and an item drawn as negative each.

Taken from [A-LLMRec] and its released code: sigmoid codes of 128, the four losses and their weights, Adam
with β = (0.9, 0.98), a frozen SASRec that gives item vectors and user states. Stage 2
(`analysis.msl.hybrids`) reads the joint embeddings and the user states through two projectors; they alone are
trained, by the LM's loss.

Ours: the sentence encoder is frozen, where the released code tunes it along; every training window teaches,
there only the last of each user does; the negative is an item outside the window; the text embedded is the
title, as there are no descriptions; items without a training interaction stand with the code of their text;
vectors, embeddings and states are scaled to one size (`unit_scale`), as fixed weights of the losses suppose.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import mse_loss, softplus

from reclib.config import AlignConfig
from reclib.data.dataset import Windows
from reclib.models.aligned_items import AlignedItems
from reclib.schema import InputError
from reclib.seeding import torch_generator
from reclib.training.methods.starting import drawn_weights
from reclib.training.negatives import unseen_items

PARTS = ("matching", "item", "text", "recommendation")


def unit_scale(rows: np.ndarray) -> np.ndarray:
    """Rows divided by one number, so that their root mean square is 1; rows of zeros, padding, not counted.

    rows: (M, d); returns float32. Raises InputError where all are zero.
    """
    size = float(np.sqrt(np.square(rows[rows.any(axis=1)], dtype=np.float64).mean())) if rows.any() else 0.0
    if not size > 0:
        raise InputError("vectors that are all zero cannot be aligned: train or embed them first")
    return (rows / size).astype(np.float32)


def alignment_losses(
    model: AlignedItems, user: Tensor, item: tuple[Tensor, Tensor], text: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """The four losses of stage 1 on a batch, scalars by name; item, text: of targets and of negatives.

    matching = mean (e − q)², item = mean (v̂ − v)², text = mean (t̂ − t)², each for targets plus for negatives
    recommendation = mean [softplus(−x·v̂⁺ / d) + softplus(x·v̂⁻ / d)]

    e, q: codes of vector v and text t; v̂, t̂: decoded; x: (B, d) user states. Source: [A-LLMRec], released
    code.
    """
    losses = dict.fromkeys(PARTS, user.new_zeros(()))
    for sign, vectors, texts in zip((-1, 1), item, text, strict=True):
        found = model(vectors, texts)
        score = (user * found.item).mean(dim=1)
        losses["matching"] = losses["matching"] + mse_loss(found.item_code, found.text_code)
        losses["item"] = losses["item"] + mse_loss(found.item, vectors)
        losses["text"] = losses["text"] + mse_loss(found.text, texts)
        losses["recommendation"] = losses["recommendation"] + softplus(sign * score).mean()
    return losses


def align_items(
    windows: Windows,
    items: np.ndarray,
    texts: np.ndarray,
    users: np.ndarray,
    config: AlignConfig,
    *,
    seed: int,
    device: str = "cpu",
) -> tuple[AlignedItems, pd.DataFrame]:
    """Train the encoders and decoders; the model, and a table (epoch, name, value) of the losses' means.

    total = matching + recommendation + item_weight · item + text_weight · text

    items: (N+1, d) vectors and texts: (N+1, E) embeddings by item_idx; users: (W, d) states of the windows;
    each of `unit_scale`. It is minutes at most and has no checkpoints. Raises InputError where rows do not
    fit.
    """
    if len(items) != len(texts) or len(users) != len(windows):
        raise InputError(
            f"{len(items)} vectors and {len(texts)} text embeddings, {len(users)} users for {len(windows)} "
            "windows: one row for each item and padding, one for each window"
        )
    with drawn_weights(seed):
        model = AlignedItems(items.shape[1], texts.shape[1], config.width).to(device)
    arrays = (items, texts, users, np.column_stack([windows.history, windows.target_idx]).astype(np.int64))
    data = tuple(torch.as_tensor(each, device=device) for each in arrays)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98))
    rows = []
    for epoch in range(config.epochs):
        means = _epoch(model, optimiser, data, config, seed=seed, epoch=epoch)
        rows += [(epoch, name, value) for name, value in means.items()]
    return model.eval(), pd.DataFrame(rows, columns=["epoch", "name", "value"])


def _epoch(
    model: AlignedItems,
    optimiser: torch.optim.Optimizer,
    data: tuple[Tensor, ...],
    config: AlignConfig,
    *,
    seed: int,
    epoch: int,
) -> dict[str, float]:
    items, texts, users, met = data
    generator = torch_generator(seed, f"alignment epoch {epoch}")
    sums: dict[str, Any] = dict.fromkeys(PARTS, 0.0)
    for rows in torch.randperm(len(users), generator=generator).split(config.batch_size):
        seen = met[rows.to(met.device)]
        drawn = unseen_items(seen.cpu(), 1, n_items=len(items) - 1, generator=generator)[:, 0]
        pair = (seen[:, -1], drawn.to(met.device))
        losses = alignment_losses(
            model,
            users[rows.to(met.device)],
            (items[pair[0]], items[pair[1]]),
            (texts[pair[0]], texts[pair[1]]),
        )
        total = losses["matching"] + losses["recommendation"]
        total = total + config.item_weight * losses["item"] + config.text_weight * losses["text"]
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        for name, loss in losses.items():
            sums[name] += loss.detach() * len(rows)
    return {name: float(value) / len(users) for name, value in sums.items()}
