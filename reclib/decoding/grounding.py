"""BIGRec's grounding: answer freely, embed the answer, and rank items by how near their titles are.

Taken from [BIGRec] and its released code: beam search without a trie, of which the best beam is taken; the
last hidden state of the last token of the answer and of each title, quotation marks left out, by the LM
before tuning; L2 distance; both ways of re-weighting it (`kernels.grounding`), γ chosen on validation.

Ours: an answer is its first line, as a model tuned for minutes may go on behind its title; it may be as long
as the longest title and a few tokens; an answer without a token has an empty list; beams stop as
transformers stops them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig

from reclib.decoding.lists import Lists, check_length
from reclib.decoding.tree_cache import evaluating
from reclib.kernels.grounding import reweighted_distances
from reclib.models.causal_lm import CausalLM
from reclib.schema import InputError
from reclib.text.tokenization import PromptTokens

PROTOCOL = "grounding"
TEXTS_AT_ONCE = 32
DISTANCES_AT_ONCE = 2**20  # of a block of answers to all titles, 4 MB in float32


def generate_freely(lm: CausalLM, prompts: PromptTokens, *, num_beams: int, max_new_tokens: int) -> list[str]:
    """The first line of what `generate_texts` gives, quotation marks around it left out."""
    answers = generate_texts(lm, prompts, num_beams=num_beams, max_new_tokens=max_new_tokens)
    return [_first_line(answer) for answer in answers]


def generate_texts(lm: CausalLM, prompts: PromptTokens, *, num_beams: int, max_new_tokens: int) -> list[str]:
    """The best beam of each prompt, without a trie; one beam is the likeliest token each time.

    The prompts run as one batch, padded on the left.
    """
    rows = [prompts.of(row) for row in range(len(prompts))]
    width = max(map(len, rows), default=0)
    ids = np.full((len(rows), width), lm.end_token, np.int64)
    is_real = np.zeros(ids.shape, np.int64)
    for place, row in enumerate(rows):
        ids[place, width - len(row) :], is_real[place, width - len(row) :] = row, 1
    config = GenerationConfig(
        num_beams=num_beams,
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=lm.end_token,
        pad_token_id=lm.end_token,
    )
    with evaluating(lm):
        found = cast(Any, lm.network).generate(
            torch.from_numpy(ids).to(lm.device),
            attention_mask=torch.from_numpy(is_real).to(lm.device),
            generation_config=config,
        )
    return list(lm.tokenizer.batch_decode(found[:, width:], skip_special_tokens=True))


def _first_line(answer: str) -> str:
    """The first line with text, without quotation marks around it: a title has no line break."""
    return answer.strip().partition("\n")[0].strip().strip('"').strip()


def text_states(lm: CausalLM, texts: list[str], *, pooling: str, max_tokens: int = 128) -> np.ndarray:
    """Last hidden state of each text's last token, or its mean over the tokens; (n, D) float32.

    Zeros for a text without a token. Texts of like length share a batch; longer ones are cut.
    """
    if pooling not in ("last", "mean"):
        raise InputError(f'pooling is {pooling!r}: choose "last" or "mean"')
    states = np.zeros((len(texts), lm.output_embedding.shape[1]), np.float32)
    tokens = lm.tokenizer(texts, truncation=True, max_length=max_tokens)["input_ids"] if texts else []
    order = [place for place in np.argsort([len(row) for row in tokens], kind="stable") if tokens[place]]
    with evaluating(lm):
        for first in range(0, len(order), TEXTS_AT_ONCE):
            chosen = order[first : first + TEXTS_AT_ONCE]
            states[chosen] = _states(lm, [tokens[place] for place in chosen], pooling).cpu().numpy()
    return states


def _states(lm: CausalLM, rows: list[list[int]], pooling: str) -> Tensor:
    length = torch.tensor([len(row) for row in rows], device=lm.device)
    ids = torch.full((len(rows), int(length.max())), lm.end_token, device=lm.device)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
    hidden = lm.hidden_states(ids)[0].float()  # padding on the right is seen by no token of a text
    if pooling == "last":
        return hidden[torch.arange(len(rows), device=lm.device), length - 1]
    is_real = torch.arange(ids.shape[1], device=lm.device) < length[:, None]
    return (hidden * is_real[..., None]).sum(dim=1) / length[:, None]


def grounded_lists(
    answers: np.ndarray,
    titles: np.ndarray,
    *,
    k: int,
    knowledge: np.ndarray | None = None,
    gammas: Sequence[float] = (0.0,),
    device: torch.device | str = "cpu",
) -> list[Lists]:
    """The k items whose titles are nearest to each answer, for each γ; scores are distances, sign turned.

    answers: (B, D), a row of zeros has an empty list; titles: (N+1, D) by item_idx, row 0 is not read
    knowledge: (N+1,) or (B, N+1), re-weights the distances with each γ; None leaves them as they are
    Items at one distance follow one another by item_idx. Distances are made once for all γ, in blocks of
    answers. Raises InputError for a list longer than the catalogue, and for states and knowledge that are
    not finite.
    """
    check_length(k, len(titles) - 1)
    known = None if knowledge is None else np.atleast_2d(knowledge)[:, 1:]
    _refuse_non_finite(answers, "the state of answer", first=0)
    _refuse_non_finite(titles[1:], "the title state of item_idx", first=1)
    if known is not None:
        _refuse_non_finite(known.T, "the knowledge of item_idx", first=1)
    given = torch.as_tensor(titles[1:], device=device)
    lists = [Lists.empty(len(answers), k) for _ in gammas]
    answered = np.flatnonzero(answers.any(axis=1))
    size = max(1, DISTANCES_AT_ONCE // len(given))
    for first in range(0, len(answered), size):
        rows = answered[first : first + size]
        distance = torch.cdist(
            torch.as_tensor(answers[rows], device=device), given, compute_mode="donot_use_mm_for_euclid_dist"
        )  # an equal text is at distance 0, not at what a difference of large products leaves
        weight = None
        if known is not None:
            of_rows = known if len(known) == 1 else known[rows]
            weight = torch.as_tensor(of_rows, dtype=distance.dtype, device=device)
        for found, gamma in zip(lists, gammas, strict=True):
            ranked = distance if weight is None else reweighted_distances(distance, weight, gamma=gamma)
            found.items[rows], found.scores[rows] = _nearest(ranked, k)
    return lists


def _refuse_non_finite(rows: np.ndarray, what: str, *, first: int) -> None:
    """Refuse rows with a NaN or an infinity, naming the first: one such would undo the order of whole lists.

    rows: (n, D), numbered from `first` on.
    """
    is_finite = np.isfinite(rows).all(axis=1)
    if not is_finite.all():
        raise InputError(f"{what} {first + is_finite.argmin()} is NaN or infinite; check what it comes from")


def _nearest(distance: Tensor, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest items of each row and their distances, sign turned; of equals the first by item_idx."""
    furthest = distance.kthvalue(k, dim=1, keepdim=True).values
    width = int((distance <= furthest).sum(dim=1).max())  # with all that are as near as the k-th
    place = distance.topk(width, dim=1, largest=False).indices.sort(dim=1).values
    nearest, order = distance.gather(1, place).sort(dim=1, stable=True)
    place = place.gather(1, order)
    return (place[:, :k] + 1).cpu().numpy(), -nearest[:, :k].cpu().numpy()
