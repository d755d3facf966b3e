"""The same plasticity at the two levels, rung by rung: where rate and spiking updates agree, and where they part."""

from bridge.config import LevelsConfig
from bridge.levels.ladder import Ladder, compare_levels
from bridge.levels.material import Layer, images_layer, paper_layer, rates_layer

__all__ = ["Ladder", "Layer", "LevelsConfig", "compare_levels", "images_layer", "paper_layer", "rates_layer"]
