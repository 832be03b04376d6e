"""Training SASRec and ranking a whole catalogue: RecBole 1.2.1 and RecTools 0.19 against ours, one thread.

    python benchmarks/sequence.py [--epochs 5] [--seeds 3] [--profile]

Training: windows of MSL's Book data, d = 64, 2 layers, 2 heads, histories of up to 10, batches of 256, Adam
at 1e-3, dropout 0.2, cross-entropy over the catalogue; at the last position against RecBole, at all
positions against RecTools. Every side trains the same windows for as many epochs; a rate is windows a CPU
second in the fastest epoch, validation left out. NDCG@10 is of the test windows after the last epoch, ties
against the target; its difference is the mean over seeds, window by window, with the standard error of that.

Ranking: states of 4,096 users and 57,289 items of a SASRec trained here on a made catalogue of Zipf
popularity; ranks up to 20, as HR@20 and NDCG@20 need them. RecBole's way is its own evaluation of a batch
(scores, top-k, a matrix of ones), `topk` is scores and `torch.topk`; each with the batch size that suits it
best. `rank_vs_topk` is the least over the trained model, random states, and targets that are all users'
best items, where no user can be dropped.

The peers live in environments of their own below the cache, made by pip at the first run. `--profile` says
instead where the time of our training step goes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import _peers
import _sequence_profile
import numpy as np
import torch

from reclib.config import BackboneConfig, DataConfig, SequenceTrainConfig
from reclib.data.dataset import Dataset, Windows
from reclib.data.load import load
from reclib.evaluation.full_ranking import rank_windows
from reclib.kernels.full_ranking import target_ranks
from reclib.models.backbones import build_backbone
from reclib.models.items import IdItems
from reclib.models.products import float32_products
from reclib.models.sequence_model import SequenceModel
from reclib.training.loop import fit

N_ITEMS, N_USERS, CUTOFF, WIDTH, LENGTH = 57_289, 4_096, 20, 64, 10
BACKBONE = BackboneConfig(name="sasrec", d_model=WIDTH, n_layers=2, n_heads=2, dropout=0.2)


def make_model(n_items: int, *, seed: int = 0) -> SequenceModel:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return SequenceModel(IdItems(n_items, WIDTH), build_backbone(BACKBONE, max_length=LENGTH))


def train_ours(
    windows: Windows, n_items: int, config: SequenceTrainConfig, *, seed: int = 0
) -> tuple[SequenceModel, list[float]]:
    """A trained model, and CPU seconds of each epoch without its validation."""
    ticks = [time.process_time()]

    def clock(_: SequenceModel) -> float:
        ticks.append(time.process_time())
        return len(ticks)

    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(
            make_model(n_items, seed=seed),
            windows,
            config,
            validate=clock,
            seed=seed,
            workdir=Path(folder),
            stage="ours",
        )
    return fitted.model, np.diff(ticks).tolist()


def gains(ranks: np.ndarray) -> np.ndarray:
    """NDCG@10 of each window; rank 0 is a target that is not in its list."""
    return np.where((ranks >= 1) & (ranks <= 10), 1 / np.log2(np.maximum(ranks, 1) + 1), 0.0)


def mean_and_error(values: np.ndarray) -> str:
    return f"{values.mean():.4f} ± {values.std() / np.sqrt(len(values)):.4f}"


def compare_training(
    dataset: Dataset, peer: _peers.Peer, positions: str, folder: Path, epochs: int, seeds: int
) -> float:
    """Our rate over the peer's."""
    train, test = dataset.train, dataset.test
    if positions == "all":  # every window counts, not only the last of each user, as for the peer
        users = np.arange(len(train)).astype(object)
        train = Windows(users, train.history, train.target_idx, train.timestamp)
    config = SequenceTrainConfig(
        loss="cross_entropy", positions=positions, epochs=epochs, batch_size=256, learning_rate=1e-3
    )
    cpu: dict[str, list[float]] = {"ours": [], peer.name: []}
    ndcg: dict[str, list[np.ndarray]] = {"ours": [], peer.name: []}
    for seed in range(seeds):
        model, seconds = train_ours(train, dataset.n_items, config, seed=seed)
        cpu["ours"] += seconds
        ndcg["ours"].append(gains(rank_windows(model, test).to_numpy(dtype=np.int64)))
        cpu[peer.name] += _peers.run(peer, "train", folder, str(epochs), str(seed))["cpu"]
        ndcg[peer.name].append(gains(np.load(folder / f"{peer.script[1:-3]}_ranks.npy")))
    means = {name: np.mean(each, axis=0) for name, each in ndcg.items()}
    for name, seconds in cpu.items():
        label, rate = f"{name}, {positions}", len(train) / min(seconds)
        print(f"{label:28s} {rate:8,.0f} windows / CPU-s   NDCG@10 {mean_and_error(means[name])}")
    difference = mean_and_error(means["ours"] - means[peer.name])
    print(f"NDCG@10, ours less {peer.name}: {difference}, {seeds} seeds", flush=True)
    return min(cpu[peer.name]) / min(cpu["ours"])


def made_windows(n_users: int, *, seed: int) -> Windows:
    """Zipf popularity; half of the items follow from the one before."""
    generator = np.random.default_rng(seed)
    chances = np.arange(1, N_ITEMS + 1) ** -1.0
    items = generator.choice(N_ITEMS, (n_users, LENGTH + 1), p=chances / chances.sum())
    follows = generator.random(items.shape) < 0.5
    for place in range(1, LENGTH + 1):
        items[:, place] = np.where(
            follows[:, place], (items[:, place - 1] * 7 + 1) % N_ITEMS, items[:, place]
        )
    items = np.random.default_rng(0).permutation(N_ITEMS)[items] + 1  # popularity does not show in the order
    empty = np.full(n_users, np.nan)
    return Windows(np.arange(n_users).astype(object), items[:, :-1].astype(np.int32), items[:, -1], empty)


def trained_states() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """States of users, items and targets of a model trained on a made catalogue."""
    config = SequenceTrainConfig(loss="cross_entropy", positions="last", epochs=3, batch_size=256)
    model, _ = train_ours(made_windows(20_000, seed=1), N_ITEMS, config)
    users = made_windows(N_USERS, seed=2)
    with torch.no_grad():
        states = model.user_states(torch.from_numpy(users.history).long())
        return states, model.item_matrix().detach().clone(), torch.from_numpy(users.target_idx).long()


def cpu_of(work: Callable[[], Any], repeats: int = 3) -> float:
    work()
    best = np.inf
    for _ in range(repeats):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def by_topk(states: torch.Tensor, items: torch.Tensor, target: torch.Tensor, size: int) -> torch.Tensor:
    places = []
    for state, own in zip(states.split(size), target.split(size), strict=True):
        scores = state @ items.T
        scores[:, 0] = -torch.inf
        places.append((scores.topk(CUTOFF).indices == own[:, None]).int())
    return torch.cat(places)


def compare_ranking(folder: Path) -> None:
    trained = trained_states()
    generator = torch.Generator().manual_seed(0)
    states, items = (torch.randn(part.shape, generator=generator) for part in trained[:2])
    cases = {
        "trained": trained,
        "random": (states, items, torch.randint(1, N_ITEMS + 1, (N_USERS,), generator=generator)),
        "best items": (*trained[:2], 1 + (trained[0] @ trained[1][1:].T).argmax(dim=1)),
    }
    against_topk = []
    for name, case in cases.items():
        topk = min(cpu_of(lambda case=case, size=size: by_topk(*case, size), 2) for size in (256, 1024))
        plain = cpu_of(lambda case=case: target_ranks(*case, cutoff=CUTOFF))
        with float32_products():  # as `rank_windows` does
            ours = cpu_of(lambda case=case: target_ranks(*case, cutoff=CUTOFF))
            hits = float((target_ranks(*case, cutoff=CUTOFF) <= CUTOFF).double().mean())
        ways = (("ours", ours), ("ours with MKL", plain), ("topk", topk))
        rates = "  ".join(f"{way} {N_USERS / cpu:,.0f}" for way, cpu in ways)
        print(f"rank, {name:12s} HR@20 {hits:.3f}  {rates} users / CPU-s", flush=True)
        against_topk.append(topk / ours)
        if name == "trained":
            parts = {"states": case[0], "items": case[1], "target": case[2]}
            np.savez(folder / "ranking.npz", **{key: part.numpy() for key, part in parts.items()})
            cpu = _peers.run(_peers.RECBOLE, "rank", folder)["cpu"]
            print(f"rank, {name:12s} RecBole's way {N_USERS / cpu:7,.0f} users / CPU-s")
            print(f"ratio rank {cpu / ours:.2f}")
    print(f"ratio rank_vs_topk {min(against_topk):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3, help="of the trained models")
    parser.add_argument("--profile", action="store_true", help="where the time of our training step goes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    dataset = load(DataConfig(source="msl_book", history_length=LENGTH), seed=0)
    if arguments.profile:
        for positions in ("last", "all"):
            _sequence_profile.show(make_model(dataset.n_items), dataset.train, positions)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parts = {"train": dataset.train, "test": dataset.test}
        arrays = {f"{part}_history": windows.history for part, windows in parts.items()}
        arrays |= {f"{part}_target": windows.target_idx for part, windows in parts.items()}
        np.savez(folder / "windows.npz", n_items=dataset.n_items, **arrays)
        size = arguments.epochs, arguments.seeds
        train = compare_training(dataset, _peers.RECBOLE, "last", folder, *size)
        print(f"ratio train {train:.2f}", flush=True)
        all_positions = compare_training(dataset, _peers.RECTOOLS, "all", folder, *size)
        print(f"ratio train_all_positions {all_positions:.2f}", flush=True)
        compare_ranking(folder)


if __name__ == "__main__":
    main()
