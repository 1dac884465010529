"""Runs of random learners on supersamples."""

import pytest
import torch

from infocap.bounds import SupersampleRuns, complementary_selectors


@pytest.fixture(scope="session")
def random_runs():
    """Learners that know some of the labels that they were trained on, and guess the others."""

    def draw(seed, classes=2, k1=3, k2=8, n=4, fit=0.5, complementary=True):
        generator = torch.Generator().manual_seed(seed)
        if complementary:
            selectors = torch.stack([complementary_selectors(k2, n, generator) for _ in range(k1)])
        else:
            selectors = torch.randint(2, (k1, k2, n), generator=generator)
        labels = torch.randint(classes, (k1, n, 2), generator=generator)
        predictions = torch.randint(classes, (k1, k2, n, 2), generator=generator)
        trained = torch.stack([1 - selectors, selectors], -1) == 1
        known = trained & (torch.rand(predictions.shape, generator=generator) < fit)
        return SupersampleRuns(selectors, torch.where(known, labels[:, None], predictions), labels, classes)

    return draw
