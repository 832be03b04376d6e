from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reclib.models.causal_lm import adapter_state, load_adapter
from reclib.training.checkpoints import (
    COMPLETE_FILE,
    drop_checkpoints,
    latest_checkpoint,
    load_state,
    mark_complete,
    save_adapter,
    save_state,
)
from tests.training.toy import make_toy


def checkpoint(folder: Path, step: int, *, complete: bool) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir()
    (path / "optimizer.pt").write_bytes(b"half")
    if complete:
        (path / COMPLETE_FILE).touch()
    return path


def test_the_latest_complete_checkpoint_is_found_by_number(tmp_path: Path) -> None:
    checkpoint(tmp_path, 9, complete=True)
    newest = checkpoint(tmp_path, 10, complete=True)
    assert latest_checkpoint(tmp_path) == newest


def test_a_half_written_checkpoint_is_passed_over_and_removed(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 4, complete=True)
    half = checkpoint(tmp_path, 8, complete=False)
    assert latest_checkpoint(tmp_path) == whole
    assert not half.exists()


def test_a_complete_checkpoint_replaces_those_before_it(tmp_path: Path) -> None:
    checkpoint(tmp_path, 4, complete=True)
    newest = checkpoint(tmp_path, 8, complete=False)
    mark_complete(newest)
    assert list(tmp_path.iterdir()) == [newest]
    assert latest_checkpoint(tmp_path) == newest


def test_there_may_be_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert latest_checkpoint(tmp_path) is None
    assert latest_checkpoint(tmp_path / "missing") is None
    checkpoint(tmp_path, 3, complete=False)
    assert latest_checkpoint(tmp_path) is None


def test_checkpoints_are_removed_and_what_a_kill_leaves_of_them_is_not_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "checkpoints"
    drop_checkpoints(folder)  # there may be none
    folder.mkdir()
    checkpoint(folder, 4, complete=True)
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda _: None)  # as if killed before the first file is removed
        drop_checkpoints(folder)
    assert latest_checkpoint(folder) is None
    checkpoint(folder, 8, complete=True)
    drop_checkpoints(folder)
    assert not folder.exists()


def test_an_adapter_file_holds_the_lora_weights_and_nothing_else(tmp_path: Path) -> None:
    source, sink = make_toy(dtype="float32").lm, make_toy(dtype="float32", fresh=True).lm
    path = tmp_path / "adapter.safetensors"
    save_adapter(source, path)
    load_adapter(sink, path)
    for mine, theirs in zip(adapter_state(sink).values(), adapter_state(source).values(), strict=True):
        assert torch.equal(mine, theirs)
    assert path.stat().st_size < 8192 + 4 * sum(weight.numel() for weight in adapter_state(source).values())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_states_are_json(tmp_path: Path) -> None:
    state = {"objective": {"temperature": 1.5, "counts": {"clamped": 3}}, "seconds": 0.1}
    save_state(state, tmp_path / "state.json")
    assert load_state(tmp_path / "state.json") == state
