"""What the two parts of the language-modelling loss do to the weights: norms, and weights of positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import TrainerCallback

from reclib.kernels.masked_softmax import (
    language_modelling_loss,
    masked_softmax_loss,
    target_weight,
    valid_logits,
)
from reclib.models.causal_lm import CausalLM
from reclib.training.targets import TargetBatch


def part_gradient_norms(hidden: Tensor, lm: CausalLM, batch: TargetBatch) -> dict[str, float]:
    """Values and gradient norms of 𝓛 = 𝓛¹ + 𝓛² at the trainable weights θ of the LM.

    Each part is a sum over the target's positions and a mean over the batch's samples. As 𝓛² is the
    masked softmax loss, ∇𝓛¹ = ∇𝓛 − ∇𝓛² needs no third backward pass.

    hidden: (P_all, D) with graph, at every target position, forced ones included.
    Returns lml, lml_valid (𝓛¹), lml_item (𝓛²) in nats and the same with the prefix "gradient_" for
    ‖∇θ·‖₂. Source: [MSL] Eq. (2)–(4), Fig. 3.
    """
    weights = [weight for weight in lm.parameters() if weight.requires_grad]
    output_embedding = lm.output_embedding
    full = language_modelling_loss(hidden, output_embedding, batch.target).sum() / batch.n_samples
    logits = valid_logits(hidden.index_select(0, batch.counted), output_embedding, batch.valid)
    item = masked_softmax_loss(logits, batch.valid).sum() / batch.n_samples
    full_gradient = torch.autograd.grad(full, weights, retain_graph=True)
    item_gradient = torch.autograd.grad(item, weights)
    valid_gradient = [whole - part for whole, part in zip(full_gradient, item_gradient, strict=True)]
    return {
        "lml": full.item(),
        "lml_valid": (full - item).item(),
        "lml_item": item.item(),
        "gradient_lml": _norm(full_gradient),
        "gradient_lml_valid": _norm(valid_gradient),
        "gradient_lml_item": _norm(item_gradient),
    }


def _norm(gradients: Sequence[Tensor]) -> float:
    return float(torch.stack([gradient.float().pow(2).sum() for gradient in gradients]).sum().sqrt())


class GradientProbe(TrainerCallback):
    """Measures a fixed batch during training: both parts' values and gradient norms, without dropout.

    The numbers go into the Trainer's own log, so they survive a kill with its checkpoints.
    """

    def __init__(self, lm: CausalLM, inputs: Mapping[str, Any], *, every: int) -> None:
        self.lm, self.inputs, self.every = lm, inputs, every

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure before the optimisation steps 0, `every`, 2·`every` and so on."""
        if state.global_step % self.every == 0:
            self._measure(state)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Measure after the last step."""
        self._measure(state)

    def _measure(self, state: Any) -> None:
        was_training = self.lm.training
        self.lm.eval()
        with torch.enable_grad():
            hidden = self.lm(**self.inputs["model_inputs"])
            norms = part_gradient_norms(hidden, self.lm, self.inputs["targets"])
        self.lm.train(was_training)
        entry = {f"probe_{name}": value for name, value in norms.items()}
        state.log_history.append({"step": state.global_step, **entry})


@torch.no_grad()
def position_weights(
    lm: CausalLM, inputs: Mapping[str, Any], *, temperatures: Sequence[float] = (1.0,)
) -> pd.DataFrame:
    """Weight w = 1 − P(target) of every target position under LML, and under MSL at each temperature.

    A forced position has P_valid = 1, so its weight under MSL is 0.
    Returns one row a position: sample, position (1 is the first token), is_forced, lml, and one
    column a temperature, named "msl" at 1 and "msl_<τ>" otherwise. Source: [MSL] Eq. (7), (10), Fig. 5.
    """
    targets: TargetBatch = inputs["targets"]
    hidden = lm(**inputs["model_inputs"])
    full = target_weight(language_modelling_loss(hidden, lm.output_embedding, targets.target))
    table = pd.DataFrame(
        {
            "sample": targets.sample.cpu().numpy(),
            "position": targets.position.cpu().numpy() + 1,
            "is_forced": True,
            "lml": full.cpu().numpy(),
        }
    )
    counted = targets.counted.cpu().numpy()
    table.loc[counted, "is_forced"] = False
    logits = valid_logits(hidden.index_select(0, targets.counted), lm.output_embedding, targets.valid)
    for temperature in temperatures:
        column = "msl" if temperature == 1.0 else f"msl_{temperature:g}"
        losses = masked_softmax_loss(logits, targets.valid, temperature=temperature)
        table[column] = 0.0
        table.loc[counted, column] = target_weight(losses, temperature=temperature).cpu().numpy()
    return table
