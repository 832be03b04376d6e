"""A causal language model that returns hidden states where they are asked for, with LoRA adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.cache_utils import Cache

from reclib.config import LMConfig
from reclib.models.hybrid_prompt import HybridEmbedding
from reclib.models.packing import PACKED_ATTENTION, Packing, pack, packed_mask
from reclib.models.pretrained import load_pretrained
from reclib.models.random_lm import random_lm
from reclib.schema import InputError
from reclib.seeding import derived_seed
from reclib.text.hybrid_prompts import tokenize_hybrid_prompts
from reclib.text.tokenization import PromptTokens, tokenize_prompts

if TYPE_CHECKING:
    from reclib.data.dataset import Windows

_TABLES = "vectors"  # names of the projectors' weights in an adapter begin with it


class CausalLM(nn.Module):
    """A transformers causal LM and its tokenizer; its output is hidden states, never logits.

    `forward` is what training calls, so that wrappers of accelerate (mixed precision, several GPUs) act
    on it; `hidden_states` is the plain pass that decoding builds on.
    """

    def __init__(self, network: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__()
        self.network = network
        self.tokenizer = tokenizer
        network.set_attn_implementation(PACKED_ATTENTION)

    def __repr__(self) -> str:
        trainable = sum(weight.numel() for weight in self.parameters() if weight.requires_grad)
        total = sum(weight.numel() for weight in self.parameters())
        return f"CausalLM({self.network.config.model_type}, {total:,} parameters, {trainable:,} trainable)"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.output_embedding.device

    @property
    def output_embedding(self) -> Tensor:
        """Weight of the LM head, (Z, D): logits are hidden states times its transpose."""
        return self.network.get_output_embeddings().weight

    @property
    def vocabulary_size(self) -> int:
        """Z, rows of the output embedding (more than the tokenizer's length where they were padded)."""
        return self.output_embedding.shape[0]

    @property
    def end_token(self) -> int:
        """The token that ends a response."""
        return self.tokenizer.eos_token_id

    @property
    def hybrid(self) -> HybridEmbedding | None:
        """The input embedding where it reads vectors too; see `hybrid_prompt.add_vectors`."""
        embedding = self.network.get_input_embeddings()
        return embedding if isinstance(embedding, HybridEmbedding) else None

    def prompts(
        self, windows: Windows, titles: Sequence[str], domain: str, *, max_tokens: int
    ) -> PromptTokens:
        """The prompts of some windows as this LM reads them: text, with vectors where it has any."""
        hybrid = self.hybrid
        if hybrid is None:
            return tokenize_prompts(windows, titles, domain, self.tokenizer, max_tokens=max_tokens)
        return tokenize_hybrid_prompts(
            windows,
            titles,
            domain,
            self.tokenizer,
            max_tokens=max_tokens,
            first_item=hybrid.first_item,
            user_ids=hybrid.user_ids(windows.history),
        )

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        cache: Cache | None = None,
        use_cache: bool = False,
    ) -> tuple[Tensor, Cache | None]:
        """Hidden states after the last layer and its norm, and the cache if one was given or asked for.

        input_ids: (B, L); attention_mask: (B, cached + L) or (B, 1, L, cached + L), `True` is visible;
        position_ids: (B, L); returns (B, L, D). A cache that is given is extended in place.
        """
        output = self.network.base_model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=use_cache or cache is not None,
        )
        return output.last_hidden_state, output.past_key_values

    def forward(self, input_ids: Tensor, position_ids: Tensor, packing: Packing, asked: Tensor) -> Tensor:
        """Hidden states at the asked places of packed sequences, as made by `packing.pack`.

        The head that all sequences share is computed once, and nothing is padded; values and gradients
        are those of the full sequences run one by one (LoRA's dropout, if any, is drawn once for the head).

        input_ids, position_ids: (H + own tokens,); asked: (P,) int64, packed places; returns (P, D).
        """
        hidden = self.network.base_model(
            input_ids=input_ids[None],
            position_ids=position_ids[None],
            attention_mask=packed_mask(packing),
            packing=packing,
            use_cache=False,
        ).last_hidden_state
        return hidden[0].index_select(0, asked)


def load_lm(config: LMConfig, *, seed: int, titles: list[str] | None = None) -> CausalLM:
    """The LM that `config.name` names: "random", an asset, or a folder in Hugging Face format.

    `seed` and `titles` are read by "random" only: its weights come from the seed, its vocabulary from the
    titles. Raises InputError for a name that is none of these, and for a network that cannot be packed.
    """
    network: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    if config.name == "random":
        network, tokenizer = random_lm(titles or [], seed=seed)
    else:
        network, tokenizer = load_pretrained(config.name)
    network = network.to(getattr(torch, config.dtype))
    network.requires_grad_(False)
    lm = CausalLM(network, tokenizer).eval()
    _check_packing(lm, config.name)
    return lm


@torch.no_grad()
def _check_packing(lm: CausalLM, name: str) -> None:
    """Refuse a network whose layers mix tokens by anything but an attention that can be exchanged."""
    tokens = np.arange(6) % lm.vocabulary_size
    inputs, _ = pack(tokens[:2], tokens[2:], np.array([0, 2, 4]))
    packed = lm(**inputs, asked=torch.tensor([3, 5]))
    alone, _ = lm.hidden_states(torch.from_numpy(tokens[[[0, 1, 2, 3], [0, 1, 4, 5]]]))
    if not torch.allclose(packed, alone[:, -1], rtol=0.05, atol=0.05 * float(alone.abs().max())):
        raise InputError(
            f"{name}: its layers do not let sequences be packed; use a plain transformer decoder"
        )


def add_lora(lm: CausalLM, config: LMConfig, *, seed: int) -> CausalLM:
    """Add LoRA adapters, in place: the only trainable weights, float32 or wider, that change nothing yet.

    Raises InputError where no layer has one of the names `config.lora_targets`. Source: [MSL] §5.1.3.
    """
    lora = LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        lora_dropout=config.lora_dropout,
        target_modules=list(config.lora_targets),
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derived_seed(seed, "lora"))
        try:
            inject_adapter_in_model(lora, lm.network)
        except ValueError as error:
            raise InputError(
                f"LoRA on {', '.join(config.lora_targets)}: {error}; set `lora_targets`"
            ) from error
    for weight in lm.parameters():
        if weight.requires_grad and weight.dtype in (torch.float16, torch.bfloat16):
            weight.data = weight.data.float()
    return lm


def adapter_state(lm: CausalLM) -> dict[str, Tensor]:
    """What is trained, by name, without copying it: LoRA weights, and projectors of vectors in prompts."""
    state = get_peft_model_state_dict(lm.network) if _has_lora(lm) else {}
    if lm.hybrid is not None:
        state |= {f"{_TABLES}.{name}": weight for name, weight in lm.hybrid.tables.state_dict().items()}
    return state


def _has_lora(lm: CausalLM) -> bool:
    return hasattr(lm.network, "peft_config")


def load_adapter(lm: CausalLM, adapter: Path | str | Mapping[str, Any]) -> CausalLM:
    """Take up what is trained, in place, from a safetensors file or from `adapter_state`.

    Raises InputError where a weight is missing, unknown or of another shape.
    """
    source = "the given state" if isinstance(adapter, Mapping) else str(adapter)
    state = dict(adapter) if isinstance(adapter, Mapping) else load_file(adapter)
    expected = {name: tuple(weight.shape) for name, weight in adapter_state(lm).items()}
    found = {name: tuple(weight.shape) for name, weight in state.items()}
    if expected != found:
        differing = sorted(name for name, _ in expected.items() ^ found.items())
        raise InputError(
            f"adapter {source} does not fit this LM: {len(differing)} weights are missing, unknown or of "
            f"another shape, first {differing[:1]}; use the LMConfig it was trained with"
        )
    if lm.hybrid is not None:
        prefix = f"{_TABLES}."
        own = [name for name in state if name.startswith(prefix)]
        lm.hybrid.tables.load_state_dict({name.removeprefix(prefix): state.pop(name) for name in own})
    if _has_lora(lm):
        set_peft_model_state_dict(lm.network, state)
    return lm
