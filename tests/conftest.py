"""One thread and fixed examples: the suite gives the same verdict on every machine, however busy."""

import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("infocap", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("infocap")
