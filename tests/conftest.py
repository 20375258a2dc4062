"""Settings of all tests: no deadline and one thread, so that a busy machine changes nothing but the time."""

import torch
from hypothesis import settings

settings.register_profile("patient", deadline=None, max_examples=50)
settings.load_profile("patient")
torch.set_num_threads(1)
