"""Target positions of a batch, and the parts of the language-modelling loss at each."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from reclib.kernels.masked_softmax import (
    ValidTokens,
    language_modelling_loss,
    masked_softmax_loss,
    valid_logits,
)


class TargetBatch(NamedTuple):
    """Target positions of a (micro-)batch, in the order sample by sample, first token first.

    target: (P_all,) int64, target tokens: every one of them or, where the objective's `needs_forced`
        is False, any choice that contains the unforced ones
    sample: (P_all,) int64, sample of each position, 0 to n_samples − 1
    position: (P_all,) int64, place in the whole target, 0 for its first token
    counted: (P,) int64, ascending, which of the P_all are unforced (more than one valid token)
    valid: valid tokens of the counted positions
    n_samples: samples in the batch
    n_tokens: target tokens of these samples, forced ones and those left out of `target` included
    """

    target: Tensor
    sample: Tensor
    position: Tensor
    counted: Tensor
    valid: ValidTokens
    n_samples: int
    n_tokens: int


class LossParts(NamedTuple):
    """Losses of each target position, (P_all,) each, with lml = lml_valid + lml_item.

    lml: 𝓛, −log P(target) over the whole vocabulary, [MSL] Eq. (1)
    lml_valid: 𝓛¹, −log of the probability of all valid tokens together, [MSL] Eq. (3)
    lml_item: 𝓛², −log P(target) among the valid tokens, 0 where forced, [MSL] Eq. (4)
    """

    lml: Tensor
    lml_valid: Tensor
    lml_item: Tensor


def loss_parts(hidden: Tensor, output_embedding: Tensor, batch: TargetBatch) -> LossParts:
    """The language-modelling loss 𝓛 and its parts 𝓛¹ and 𝓛², position by position, at τ = 1.

    hidden: (P_all, D), at the positions that predict `batch.target`; output_embedding: (Z, D).
    Differentiable in each part. Source: [MSL] Eq. (1)–(4).
    """
    lml = language_modelling_loss(hidden, output_embedding, batch.target)
    logits = valid_logits(hidden.index_select(0, batch.counted), output_embedding, batch.valid)
    unforced = masked_softmax_loss(logits, batch.valid).to(lml.dtype)
    item = torch.zeros_like(lml).index_copy(0, batch.counted, unforced)
    return LossParts(lml, lml - item, item)
