"""Weights that others trained: their checkpoints, read without running anything, in our encoders."""

from ratenets.existing.loading import Loaded, load_existing, start
from ratenets.existing.pretrained import resnet50_weights

__all__ = ["Loaded", "load_existing", "resnet50_weights", "start"]
