"""Random numbers that depend on what they are for and on nothing that was drawn before: resuming is exact."""

import numpy as np
import torch


def generator(*numbers: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator for one purpose at one step: the same for the same non-negative ``numbers``."""
    word = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(word >> np.uint64(1)))
