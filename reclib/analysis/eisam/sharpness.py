"""How sharp the loss of each item is: by popularity, along lines, and how far one perturbation serves all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from reclib.data.dataset import Windows
from reclib.kernels.masked_softmax import masked_softmax_loss, valid_logits
from reclib.kernels.reduction import sum_by_sample
from reclib.kernels.sequence_losses import catalogue_cross_entropy
from reclib.kernels.sharpness import alignment_factor, perturbation
from reclib.models.causal_lm import CausalLM
from reclib.models.sequence_model import SequenceModel
from reclib.schema import InputError
from reclib.seeding import numpy_generator, torch_generator
from reclib.text.tokenization import ItemTokens, PromptTokens
from reclib.text.trie import ItemTrie
from reclib.training.collate import WindowCollator
from reclib.training.item_weights import popularity_buckets
from reclib.training.perturbing import Gradients, gradient_norm, gradients, perturbed, plus

Losses = Callable[[np.ndarray], Tensor]  # rows of windows → the loss of each, (B,) with graph

N_GROUPS = 10
ROWS_AT_ONCE = 64


def sequence_losses(model: SequenceModel, windows: Windows) -> Losses:
    """−log P(target) among all items, of windows by row; without dropout."""

    def losses(rows: np.ndarray) -> Tensor:
        model.eval()
        history = torch.from_numpy(windows.history[rows]).long().to(model.device)
        target = torch.from_numpy(windows.target_idx[rows]).long().to(model.device)
        return catalogue_cross_entropy(model.user_states(history), model.item_matrix(), target)

    return losses


def lm_losses(
    lm: CausalLM, prompts: PromptTokens, target_idx: np.ndarray, trie: ItemTrie, item_tokens: ItemTokens
) -> Losses:
    """−log P_valid(target), the masked softmax loss of whole titles, of windows by row; without dropout."""
    collator = WindowCollator(trie, item_tokens, needs_forced=False, device=lm.device)

    def losses(rows: np.ndarray) -> Tensor:
        lm.eval()
        batch = collator.batch(prompts.take(rows), np.asarray(target_idx)[rows])
        targets = batch["targets"]
        logits = valid_logits(lm(**batch["model_inputs"]), lm.output_embedding, targets.valid)
        sample = targets.sample.index_select(0, targets.counted)
        return sum_by_sample(masked_softmax_loss(logits, targets.valid), sample, n_samples=len(rows))

    return losses


def item_sharpness(
    losses: Losses,
    parameters: Sequence[Tensor],
    target_idx: np.ndarray,
    counts: np.ndarray,
    *,
    radius: float,
    items_per_decile: int = 20,
    examples_per_item: int = 32,
    seed: int = 0,
) -> pd.DataFrame:
    """S_i = L_i(θ+ε_i) − L_i(θ) with ε_i = ρ∇L_i / ‖∇L_i‖, of a sample of the items of each decile.

    The one step of ascent that SAM takes for max over ‖ε‖ ≤ ρ. [spec §2, §3.2: derived by us]

    target_idx: (W,) targets of the windows that `losses` knows by row; counts: (N+1,) popularity, of which
    decile 1 holds the most popular tenth of the items. Items without a window are left out. Returns one row
    an item: item_idx, decile, count, n_examples, loss, gradient_norm, sharpness, by decile and item.
    """
    generator = numpy_generator(seed, "sharpness of items")
    decile = popularity_buckets(counts, N_GROUPS) + 1
    found = np.unique(target_idx)
    rows = []
    for number in range(1, N_GROUPS + 1):
        there = found[decile[found] == number]
        for item in np.sort(generator.permutation(there)[:items_per_decile]):
            of_item = generator.permutation(np.flatnonzero(target_idx == item))[:examples_per_item]
            measured = _sharpness(losses, parameters, of_item, radius=radius)
            rows.append((int(item), number, int(counts[item]), len(of_item), *measured))
    names = ["item_idx", "decile", "count", "n_examples", "loss", "gradient_norm", "sharpness"]
    return pd.DataFrame(rows, columns=names)


def _sharpness(
    losses: Losses, parameters: Sequence[Tensor], rows: np.ndarray, *, radius: float
) -> tuple[float, float, float]:
    """Loss, norm of its gradient, and by how much it rises one step of ascent away."""
    before, slope = _mean_loss_and_gradient(losses, parameters, rows)
    direction, norm = perturbation(slope, radius=radius)
    with perturbed(parameters, direction):
        after = _mean_loss(losses, rows)
    return before, float(norm), after - before


def sharpness_by_decile(table: pd.DataFrame) -> pd.DataFrame:
    """Means over the items of each decile of `item_sharpness`, and their standard errors.

    Returns one row a decile: decile, items, count, loss, gradient_norm, sharpness, sharpness_error (NaN of a
    single item).
    """
    grouped = table.groupby("decile")
    means = grouped[["count", "loss", "gradient_norm", "sharpness"]].mean()
    means.insert(0, "items", grouped.size())
    means["sharpness_error"] = grouped["sharpness"].sem()
    return means.reset_index()


def loss_slices(
    losses: Losses,
    parameters: Sequence[Tensor],
    groups: Mapping[str, np.ndarray],
    *,
    distances: Sequence[float],
    seed: int = 0,
) -> pd.DataFrame:
    """Mean loss of groups of windows along lines through θ: that of their own gradient, and a random one.

    groups: name → rows; distances: lengths of the step from θ, of either sign; both directions have length
    one, and the random one is the same for all groups. Returns one row a point: group, direction ("ascent" or
    "random"), distance, loss. [spec §10 F5: derived by us]. Raises InputError for a group without windows.
    """
    random = _random_direction(parameters, seed)
    rows = []
    for name, of_group in groups.items():
        if not len(of_group):
            raise InputError(f"group {name!r} has no windows: there is no loss to follow")
        ascent, _ = perturbation(_mean_loss_and_gradient(losses, parameters, of_group)[1], radius=1.0)
        for direction, unit in (("ascent", ascent), ("random", random)):
            for distance in distances:
                with perturbed(parameters, [step * distance for step in unit]):
                    rows.append((name, direction, float(distance), _mean_loss(losses, of_group)))
    return pd.DataFrame(rows, columns=["group", "direction", "distance", "loss"])


def _random_direction(parameters: Sequence[Tensor], seed: int) -> Gradients:
    generator = torch_generator(seed, "slice")
    drawn = [torch.randn(each.shape, generator=generator).to(each) for each in parameters]
    return perturbation(drawn, radius=1.0)[0]


def example_alignment(
    losses: Losses, parameters: Sequence[Tensor], rows: np.ndarray, weights: np.ndarray
) -> float:
    """A = ‖Σ_k w_k g_k‖ / Σ_k w_k ‖g_k‖ of a batch of windows, from every example's own gradient.

    weights: (B,) of the windows. Source: `kernels.sharpness.alignment_factor`.
    """
    values, norms = losses(rows), []
    total: Gradients = []
    for value, weight in zip(values, weights.tolist(), strict=True):
        slope = gradients(value, parameters, keep=True)
        norms.append(gradient_norm(slope))
        total = plus(total, slope, scale=weight)
    weight = torch.tensor(np.asarray(weights)).to(norms[0])
    return float(alignment_factor(gradient_norm(total), weight, torch.stack(norms), n_examples=len(rows)))


def cosine(first: Gradients, second: Gradients) -> float:
    """Cosine of two gradients over all tensors together: of the shared step and the exact one, say."""
    product = sum(float((a * b).sum()) for a, b in zip(first, second, strict=True))
    return product / float(gradient_norm(first) * gradient_norm(second))


def _chunks(rows: np.ndarray) -> Iterator[np.ndarray]:
    yield from np.array_split(rows, range(ROWS_AT_ONCE, len(rows), ROWS_AT_ONCE))


@torch.no_grad()
def _mean_loss(losses: Losses, rows: np.ndarray) -> float:
    return sum(float(losses(chunk).double().sum()) for chunk in _chunks(rows)) / len(rows)


def _mean_loss_and_gradient(
    losses: Losses, parameters: Sequence[Tensor], rows: np.ndarray
) -> tuple[float, Gradients]:
    total, slope = 0.0, list[Tensor]()
    for chunk in _chunks(rows):
        values = losses(chunk)
        total += float(values.detach().double().sum())
        slope = plus(slope, gradients(values.sum(), parameters), scale=1 / len(rows))
    return total / len(rows), slope
