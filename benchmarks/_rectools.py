"""RecTools' side of `sequence.py`; runs in RecTools' own environment, so it imports nothing of ours.

    python _rectools.py train FOLDER EPOCHS SEED

Reads what `sequence.py` wrote into FOLDER, writes `rectools_ranks.npy` (0 where a target is not among the ten
recommended) and prints one JSON line. A window is a user of its own: the first ten of its items predict the
last ten, cross-entropy over all items at every position.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

warnings.simplefilter("ignore")


def table(history: np.ndarray, target: np.ndarray | None, first_user: int) -> Any:
    """Interactions in order, one user a window."""
    pd = importlib.import_module("pandas")
    items = history if target is None else np.concatenate([history, target[:, None]], axis=1)
    user, place = np.nonzero(items)
    when = np.datetime64("2020-01-01") + place.astype("timedelta64[D]")
    columns = {"user_id": user + first_user, "item_id": items[user, place], "weight": 1, "datetime": when}
    return pd.DataFrame(columns)


def trainer_of(epochs: int, cpu: list[float]) -> Any:
    """Lightning's trainer as RecTools makes it by default, with a clock around each epoch."""
    lightning = importlib.import_module("pytorch_lightning")

    class Clock(lightning.Callback):
        """CPU seconds from an epoch's first batch to the end of the epoch."""

        def on_train_epoch_start(self, *_: Any) -> None:
            self.started = time.process_time()

        def on_train_epoch_end(self, *_: Any) -> None:
            cpu.append(time.process_time() - self.started)

    return lightning.Trainer(
        max_epochs=epochs,
        min_epochs=epochs,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
        devices=1,
        accelerator="cpu",
        callbacks=[Clock()],
    )


def run_training(folder: Path, epochs: int, seed: int) -> dict[str, Any]:
    dataset_type = importlib.import_module("rectools.dataset").Dataset
    sasrec = importlib.import_module("rectools.models").SASRecModel
    data = np.load(folder / "windows.npz")
    cpu: list[float] = []
    torch.manual_seed(seed)
    model = sasrec(
        n_blocks=2,
        n_heads=2,
        n_factors=64,
        dropout_rate=0.2,
        session_max_len=10,
        loss="softmax",
        lr=1e-3,
        batch_size=256,
        recommend_torch_device="cpu",
        get_trainer_func=lambda: trainer_of(epochs, cpu),
    )
    train = table(data["train_history"], data["train_target"], 0)
    model.fit(dataset_type.construct(train))
    first = len(data["train_target"])
    test = table(data["test_history"], None, first)
    known = np.isin(test["item_id"], train["item_id"].unique())
    users = test["user_id"][known].unique()
    lists = model.recommend(users, dataset_type.construct(test), k=10, filter_viewed=False)
    target = data["test_target"][lists["user_id"].to_numpy() - first]
    found = lists[lists["item_id"].to_numpy() == target]
    ranks = np.zeros(len(data["test_target"]), np.int64)
    ranks[found["user_id"].to_numpy() - first] = found["rank"].to_numpy()
    np.save(folder / "rectools_ranks.npy", ranks)
    return {"cpu": cpu, "n_items": int(train["item_id"].nunique())}


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(run_training(Path(sys.argv[2]), *map(int, sys.argv[3:]))))
