from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reclib.seeding import derived_seed, numpy_generator, torch_generator


def test_a_named_stream_is_the_same_on_every_machine() -> None:
    assert derived_seed(0, "a") == 7606779636460171844  # half of the first 8 bytes of SHA-256 of "0/a"
    assert numpy_generator(0, "a").integers(0, 1000, 3).tolist() == [863, 128, 705]


@given(st.integers(), st.text())
def test_a_derived_seed_fits_every_library(seed: int, name: str) -> None:
    derived = derived_seed(seed, name)
    assert 0 <= derived < 2**63
    assert (
        numpy_generator(seed, name).bit_generator.state == np.random.default_rng(derived).bit_generator.state
    )
    assert torch_generator(seed, name).initial_seed() == derived


def test_a_new_stream_shifts_no_other() -> None:
    alone = numpy_generator(3, "windows").random(5)
    numpy_generator(3, "weights").random(100)
    numpy_generator(3, "dropout")
    assert numpy_generator(3, "windows").random(5).tolist() == alone.tolist()


@pytest.mark.parametrize(("seed", "name"), [(1, "windows"), (0, "weights"), (-1, "windows"), (0, "windows ")])
def test_streams_of_another_seed_or_name_differ(seed: int, name: str) -> None:
    assert numpy_generator(seed, name).random() != numpy_generator(0, "windows").random()


def test_the_global_state_neither_matters_nor_moves() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        before = torch.get_rng_state()
        first = torch.rand(4, generator=torch_generator(0, "weights"))
        assert torch.equal(torch.get_rng_state(), before)
        torch.manual_seed(2)
        assert torch.equal(torch.rand(4, generator=torch_generator(0, "weights")), first)
