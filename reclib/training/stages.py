"""Several trainings of one method as one result."""

from __future__ import annotations

import pandas as pd

from reclib.models.sequence_model import SequenceModel
from reclib.training.loop import Fitted


def joined(model: SequenceModel, stages: dict[str, Fitted], *, main: str) -> Fitted:
    """A model that went through stages, in order: their traces one after the other, epochs counted on.

    main: the stage whose validation is the method's; its names in the trace stay as they are, those of
    other stages become "<stage> <name>". `best_epoch` is the main stage's, counted on; seconds are summed.
    """
    traces, begun, best_epoch = [], 0, 0
    for name, fitted in stages.items():
        trace = fitted.trace.assign(epoch=fitted.trace["epoch"] + begun)
        traces.append(trace if name == main else trace.assign(name=name + " " + trace["name"]))
        if name == main:
            best_epoch = begun + fitted.best_epoch
        begun += int(fitted.trace["epoch"].max()) + 1
    seconds = sum(fitted.seconds for fitted in stages.values())
    return Fitted(model, pd.concat(traces, ignore_index=True), best_epoch, seconds)
