"""Catalogue log-likelihood of held-out windows: how probable the target is among all items."""

from __future__ import annotations

import numpy as np
import torch

from reclib.kernels.masked_softmax import masked_softmax_loss, valid_logits
from reclib.kernels.reduction import sum_by_sample
from reclib.models.causal_lm import CausalLM
from reclib.text.tokenization import ItemTokens, PromptTokens
from reclib.text.trie import ItemTrie
from reclib.training.collate import WindowCollator


@torch.no_grad()
def catalogue_log_likelihood(
    lm: CausalLM,
    prompts: PromptTokens,
    target_idx: np.ndarray,
    trie: ItemTrie,
    item_tokens: ItemTokens,
    *,
    windows_per_batch: int = 16,
) -> np.ndarray:
    """Values −log P_valid(target) = −Σ_t log softmax over valid tokens [y_t], (W,) float64, in nats.

    Forced positions add nothing and are not run; logits are of valid tokens only. Items that share a
    title share its probability. Source: [MSL] Eq. (5) without temperature; Lemma 1 ranks by it.
    """
    was_training = lm.training
    lm.eval()
    collator = WindowCollator(trie, item_tokens, needs_forced=False, device=lm.device)
    values = np.empty(len(prompts))
    for first in range(0, len(prompts), windows_per_batch):
        rows = np.arange(first, min(first + windows_per_batch, len(prompts)))
        batch = collator.batch(prompts.take(rows), np.asarray(target_idx)[rows])
        targets = batch["targets"]
        logits = valid_logits(lm(**batch["model_inputs"]), lm.output_embedding, targets.valid)
        losses = masked_softmax_loss(logits, targets.valid).double()
        values[rows] = sum_by_sample(losses, targets.sample, n_samples=len(rows)).cpu().numpy()
    lm.train(was_training)
    return values
