"""RecBole's side of `sequence.py`; runs in RecBole's own environment, so it imports nothing of ours.

    python _recbole.py train FOLDER EPOCHS SEED | rank FOLDER

Reads what `sequence.py` wrote into FOLDER, writes `recbole_ranks.npy` there and prints one JSON line. What a
current torch and pandas need to run it: numpy < 2, pandas < 2.2, setuptools < 81 (see `_peers.py`), and a
validation file, which here is a copy of ten test windows that nothing reads.
"""

from __future__ import annotations

import importlib
import json
import logging
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

warnings.simplefilter("ignore")

SETTINGS = {
    "USER_ID_FIELD": "session_id",
    "load_col": {"inter": ["session_id", "item_id_list", "item_id"]},
    "alias_of_item_id": ["item_id_list"],
    "benchmark_filename": ["train", "valid", "test"],
    "MAX_ITEM_LIST_LENGTH": 10,
    "hidden_size": 64,
    "inner_size": 256,
    "n_layers": 2,
    "n_heads": 2,
    "hidden_dropout_prob": 0.2,
    "attn_dropout_prob": 0.2,
    "loss_type": "CE",
    "train_neg_sample_args": None,
    "train_batch_size": 256,
    "eval_batch_size": 1024,
    "learning_rate": 1e-3,
    "eval_args": {"order": "TO", "mode": "full", "group_by": None},
    "metrics": ["Hit", "NDCG"],
    "valid_metric": "NDCG@10",
    "topk": [20],
    "use_gpu": False,
    "worker": 0,
    "show_progress": False,
    "state": "ERROR",
}


def write_atomic_files(folder: Path, data: Any) -> None:
    (folder / "made").mkdir(exist_ok=True)
    parts = {"train": slice(None), "valid": slice(0, 10), "test": slice(None)}
    for name, chosen in parts.items():
        source = "train" if name == "train" else "test"
        rows = zip(data[f"{source}_history"][chosen], data[f"{source}_target"][chosen], strict=True)
        lines = ["session_id:token\titem_id_list:token_seq\titem_id:token"]
        for number, (history, target) in enumerate(rows):
            seen = " ".join(map(str, history[history > 0].tolist()))
            lines.append(f"{name}{number}\t{seen}\t{target}")
        (folder / "made" / f"made.{name}.inter").write_text("\n".join(lines) + "\n", encoding="ascii")


def prepare(folder: Path, *, seed: int = 0) -> tuple[Any, Any, Any, Any]:
    """Configuration, data set, and the loaders of training and test windows."""
    config = importlib.import_module("recbole.config").Config(
        model="SASRec", dataset="made", config_dict=SETTINGS | {"data_path": str(folder), "seed": seed}
    )
    utils = importlib.import_module("recbole.utils")
    utils.init_seed(seed, reproducibility=False)
    logging.disable(logging.CRITICAL)
    data = importlib.import_module("recbole.data")
    dataset = data.create_dataset(config)
    train, _, test = data.data_preparation(config, dataset)
    return config, dataset, train, test


def run_training(folder: Path, epochs: int, seed: int) -> dict[str, Any]:
    data = np.load(folder / "windows.npz")
    write_atomic_files(folder, data)
    config, dataset, train, _ = prepare(folder, seed=seed)
    utils = importlib.import_module("recbole.utils")
    model = utils.get_model("SASRec")(config, train.dataset)
    trainer = utils.get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
    cpu, losses = [], []
    for epoch in range(epochs):
        started = time.process_time()
        losses.append(trainer._train_epoch(train, epoch))
        cpu.append(time.process_time() - started)
    np.save(folder / "recbole_ranks.npy", ranks_of(model, dataset, data))
    return {"cpu": cpu, "losses": losses, "n_items": int(dataset.item_num) - 1}


def ranks_of(model: Any, dataset: Any, data: Any) -> np.ndarray:
    """Ranks of the test targets by the trained model, ties against them; not part of any time."""
    code = np.zeros(int(data["n_items"]) + 1, np.int64)
    for token, number in dataset.field2token_id["item_id"].items():
        if token != "[PAD]":
            code[int(token)] = number
    model.eval()
    ranks = []
    for start in range(0, len(data["test_target"]), 512):
        history = code[data["test_history"][start : start + 512]]
        target = torch.from_numpy(code[data["test_target"][start : start + 512]])
        length = torch.from_numpy((history > 0).sum(axis=1))
        left = torch.from_numpy(
            np.take_along_axis(history, np.argsort(history == 0, axis=1, kind="stable"), 1)
        )
        with torch.no_grad():
            scores = model.full_sort_predict({"item_id_list": left, "item_length": length})
        scores[:, 0] = -torch.inf
        ranks.append((scores >= scores.gather(1, target[:, None])).sum(dim=1))
    return torch.cat(ranks).numpy()


def run_ranking(folder: Path) -> dict[str, Any]:
    """RecBole's own evaluation of a batch of scores, with the batch size that suits it best."""
    config = prepare(folder)[0]
    collector_type = importlib.import_module("recbole.evaluator").Collector
    given = np.load(folder / "ranking.npz")
    states, items, target = (torch.from_numpy(given[name]) for name in ("states", "items", "target"))
    best: dict[int, float] = {}
    for size in (256, 1024, 4096):
        for _ in range(2):
            collector = collector_type(config)
            started = time.process_time()
            for state, own in zip(states.split(size), target.split(size), strict=True):
                scores = torch.matmul(state, items.T)
                scores[:, 0] = -np.inf
                collector.eval_batch_collect(scores, None, torch.arange(len(own)), own)
            spent = time.process_time() - started
            best[size] = min(spent, best.get(size, np.inf))
    hits = collector.data_struct.get("rec.topk")[:, :-1].sum(dim=1)
    return {"cpu": min(best.values()), "by_size": best, "hits": int(hits.sum())}


if __name__ == "__main__":
    torch.set_num_threads(1)
    kind, where, *numbers = sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:])
    print(json.dumps(run_training(where, *numbers) if kind == "train" else run_ranking(where)))
