"""Vectors of a sequence recommender in prompts: an input embedding that knows ids past the vocabulary.

`add_vectors` puts a `HybridEmbedding` in the place of an LM's input embedding. Everything else goes on with
token ids: a prompt names a vector by an id past the vocabulary (`text.hybrid_prompts`), so packing,
training, preference tuning, caches and searches need not know of vectors. The LM's output has no such ids.
The projectors are trained and saved with the LoRA weights (`causal_lm.adapter_state`).
"""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reclib.schema import InputError
from reclib.seeding import derived_seed


class VectorTable(nn.Module):
    """Frozen vectors, and the projector that makes input embeddings of them.

    vectors: (M, d), moved with the module and not saved; projector: (n, d) → (n, D), trained
    """

    vectors: Tensor

    def __init__(self, vectors: np.ndarray, projector: nn.Module) -> None:
        super().__init__()
        bad = ~np.isfinite(vectors).all(axis=1)
        if bad.any():
            raise InputError(f"vector {int(bad.argmax())} for prompts is not finite: train its model again")
        self.register_buffer("vectors", torch.as_tensor(vectors, dtype=torch.float32), persistent=False)
        self.projector = projector

    def __len__(self) -> int:
        return len(self.vectors)

    def forward(self, rows: Tensor) -> Tensor:
        """Input embeddings of some rows: (n,) → (n, D)."""
        return self.projector(self.vectors[rows])


class Users:
    """Vectors of users: one for each history there is.

    history: (W, S) item_idx, padded on the left with 0; vectors: (W, d). Equal histories are kept once.
    """

    def __init__(self, history: np.ndarray, vectors: np.ndarray) -> None:
        self._keys, kept = np.unique(_row_keys(history), return_index=True)
        self.vectors = vectors[kept]

    def rows(self, history: np.ndarray) -> np.ndarray:
        """The row in `vectors` of each history, (W,) int64; InputError for one that has none."""
        keys = _row_keys(history)
        row = np.searchsorted(self._keys, keys).clip(max=len(self._keys) - 1)
        unknown = self._keys[row] != keys
        if unknown.any():
            raise InputError(
                f"window {int(unknown.argmax())} has a history without a user vector: encode the histories "
                "of all windows that are trained on or ranked"
            )
        return row


class HybridEmbedding(nn.Module):
    """Input embeddings of tokens, items and users, by id.

    e(z) = E[z] for z < Z;  F_I(v_i) for z = Z + i;  F_U(x_u) for z = Z + N + 1 + u

    tokens: the LM's own embedding, (Z, D); items: vectors of item_idx 0…N; users: see `Users`.
    """

    def __init__(
        self, tokens: nn.Module, items: VectorTable, users: tuple[Users, VectorTable] | None = None
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.tables = nn.ModuleDict({"item": items})
        self._users = None
        if users is not None:
            self._users, self.tables["user"] = users

    @property
    def weight(self) -> Tensor:
        """The embedding of tokens, which transformers ties to the output's."""
        return cast(Tensor, self.tokens.weight)

    @property
    def first_item(self) -> int:
        """Z, the id of row 0 of the item vectors."""
        return len(self.weight)

    def user_ids(self, history: np.ndarray) -> np.ndarray | None:
        """The id of each history's user, (W,) int64; None where users have no vectors."""
        if self._users is None:
            return None
        return self.first_item + len(cast(VectorTable, self.tables["item"])) + self._users.rows(history)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Embeddings (..., D) of ids of any shape. A projector without an id gets no gradient at all."""
        first = self.first_item
        embedded = self.tokens(input_ids.masked_fill(input_ids >= first, 0))
        for table in self.tables.values():
            rows = input_ids - first
            place = ((rows >= 0) & (rows < len(cast(VectorTable, table)))).nonzero(as_tuple=True)
            if len(place[0]):
                embedded = embedded.index_put(place, table(rows[place]).to(embedded.dtype))
            first += len(cast(VectorTable, table))
        return embedded


def add_vectors(
    network: PreTrainedModel, items: VectorTable, users: tuple[Users, VectorTable] | None = None
) -> None:
    """Let a network read vectors, in place; those that it reads already are exchanged."""
    found = network.get_input_embeddings()
    tokens = found.tokens if isinstance(found, HybridEmbedding) else found
    network.set_input_embeddings(HybridEmbedding(tokens, items, users).to(network.device))


def llara_projector(width: int, lm_width: int, *, seed: int) -> nn.Module:
    """Two linear layers with GELU between, as wide as the LM; [LLaRA], released code."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, "llara projector"))
        return nn.Sequential(nn.Linear(width, lm_width), nn.GELU(), nn.Linear(lm_width, lm_width))


def a_llmrec_projector(width: int, lm_width: int, *, of: str, seed: int) -> nn.Module:
    """Two linear layers with a LayerNorm and an activation between; [A-LLMRec], released code.

    of: "items" (GELU) or "users" (leaky ReLU). Weights are drawn as Xavier's normal.
    """
    activation = {"items": nn.GELU, "users": nn.LeakyReLU}[of]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, f"a-llmrec projector of {of}"))
        layers = [nn.Linear(width, lm_width), nn.LayerNorm(lm_width), activation()]
        projector = nn.Sequential(*layers, nn.Linear(lm_width, lm_width))
        for place in (0, 3):
            nn.init.xavier_normal_(cast(Tensor, projector[place].weight))
    return projector


def _row_keys(history: np.ndarray) -> np.ndarray:
    """The bytes of each row as one value, (W,): rows of one width are equal where these are."""
    rows = np.ascontiguousarray(history, dtype=np.int32)
    return rows.view(f"S{rows.shape[1] * 4}").ravel()
