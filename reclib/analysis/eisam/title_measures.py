"""Secondary measures of the prior, each rid of something that is not knowledge of the item.

The specification's §6.2 [derived by us]. They are checks of the primary measure, not its equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from reclib.decoding.catalogue_pass import title_scores
from reclib.decoding.tree_cache import evaluating
from reclib.models.causal_lm import CausalLM
from reclib.schema import ITEM_IDX
from reclib.text.encoding import begin_tokens, encode
from reclib.text.prior_prompts import NEUTRAL, TEMPLATES, prior_contexts, tokenize_contexts
from reclib.text.title_variants import has_subtitle
from reclib.text.tokenization import ItemTokens, tokenize_items
from reclib.text.trie import ItemTrie

MEASURES = ("s_tot", "s_tok", "s_pmi", "s_res", "s_know")
_QUOTES = 2  # tokens of a quoted title that are no part of its words, where they stand alone

# Of no domain in particular; over their positions the next token's probability is averaged.
PASSAGES = (
    "The town lies on the river, and most of its people work in the fields or in one of the small factories. "
    "In the evening they meet on the square, talk about the weather and wait for the last train.",
    "To change the password, open the settings, choose your account and type the new one twice. If it is not "
    "accepted, make sure that it has at least eight letters and one number.",
    "She said that she had never been there before, but that her father used to tell her about it when she "
    "was a child. “And what did he say?” I asked.",
    "In 1987 the company had 240 employees and sold its products in 12 countries; ten years later it was the "
    "largest of its kind in Europe, with a revenue of more than $3 million.",
    "Water boils at a lower temperature in the mountains because the pressure of the air is lower there. "
    "This is why it takes longer to cook an egg on the top of a mountain than by the sea.",
)


def title_measures(
    lm: CausalLM,
    texts: Sequence[str],
    domain: str,
    *,
    templates: Sequence[str] = tuple(TEMPLATES),
    workdir: Path | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """The secondary measures of every title, means over the templates.

    s_tot = log p(title | context), T tokens with both quotation marks, over the whole vocabulary;
    s_tok = s_tot / T;  s_pmi = s_tot − log p(title | "Text:");
    s_res = what is left of s_tot after least squares on T, characters, sum of the tokens' log-frequencies,
    having a digit, having a subtitle;
    s_know = share of the templates under which greedy decoding ends the title from its first half (NaN for a
    title of one token).

    Returns item_idx, title_tokens (T) and the five. `workdir` as in `catalogue_log_probs`.
    """
    tokens = tokenize_items(texts, lm.tokenizer)
    trie = ItemTrie.build(tokens, vocabulary_size=lm.vocabulary_size)
    contexts = tokenize_contexts([*prior_contexts(domain, templates), NEUTRAL], lm.tokenizer)
    scores = title_scores(lm, contexts, trie, workdir=workdir, progress=progress)
    length = np.diff(tokens.start)[1:] - 1  # the end token is no part of the title
    total, neutral = scores.log_prob[:-1, 1:].mean(axis=0), scores.log_prob[-1, 1:]
    features = title_features(texts, tokens, token_log_frequency(lm))
    return pd.DataFrame(
        {
            ITEM_IDX: np.arange(1, len(texts) + 1),
            "title_tokens": length,
            "s_tot": total,
            "s_tok": total / length,
            "s_pmi": total - neutral,
            "s_res": residual(total, features.to_numpy(dtype=float)),
            "s_know": completed_share(scores.greedy_tail[:-1, 1:], length),
        }
    )


def title_features(texts: Sequence[str], tokens: ItemTokens, log_frequency: np.ndarray) -> pd.DataFrame:
    """What a title's string alone makes likely: tokens, characters, log_frequency, has_digit, has_subtitle.

    log_frequency: (Z,); its column is the sum over the title's tokens, the end token left out.
    """
    value = np.append(log_frequency, 0.0)[np.where(tokens.tokens == tokens.end_token, -1, tokens.tokens)]
    return pd.DataFrame(
        {
            "tokens": np.diff(tokens.start)[1:] - 1,
            "characters": [len(text) for text in texts],
            "log_frequency": np.add.reduceat(value, tokens.start[1:-1]),
            "has_digit": [any(letter.isdigit() for letter in text) for text in texts],
            "has_subtitle": [has_subtitle(text) for text in texts],
        }
    )


def residual(values: np.ndarray, features: np.ndarray) -> np.ndarray:
    """What least squares on some features and a constant leaves of values, (N,); the mean is 0.

    Columns may depend on each other, as where no title has a subtitle.
    """
    scale = features.std(axis=0)
    columns = (features - features.mean(axis=0)) / np.where(scale > 0, scale, 1.0)
    columns = np.column_stack([np.ones(len(values)), columns])
    return values - columns @ np.linalg.lstsq(columns, values, rcond=None)[0]


def token_log_frequency(lm: CausalLM, passages: Sequence[str] = PASSAGES) -> np.ndarray:
    """How frequent each token is by the model itself, (Z,): log of its mean next-token probability.

    The mean is over every position of some passages: no counts of a pre-training corpus are needed.
    """
    total, n_positions = torch.zeros(lm.vocabulary_size, dtype=torch.float64, device=lm.device), 0
    begin = begin_tokens(lm.tokenizer)
    with evaluating(lm):
        for row in encode(passages, lm.tokenizer):
            hidden, _ = lm.hidden_states(torch.tensor([begin + row], device=lm.device))
            logits = (hidden[0] @ lm.output_embedding.T).double()
            total += logits.softmax(-1).sum(0)
            n_positions += len(logits)
    return np.log((total / n_positions).cpu().numpy())


def completed_share(greedy_tail: np.ndarray, title_tokens: np.ndarray) -> np.ndarray:
    """Share of the contexts under which greedy decoding ends each title from its first half, (N,).

    The second half is ⌊T/2⌋ of the T tokens between the quotation marks, and the closing mark; NaN where
    T < 2.
    greedy_tail: (B, N), of `title_scores`; title_tokens: (N,), both quotation marks counted.
    """
    words = np.maximum(title_tokens - _QUOTES, 0)
    return np.where(words > 1, (greedy_tail >= words // 2 + 1).mean(axis=0), np.nan)
