"""Datasets in their official files: what there is (`catalogue`), reading (`images`) and getting (`downloads`)."""

from foundation.data.catalogue import DATASETS, Dataset, data_root, find
from foundation.data.images import ImageSet, load_images

__all__ = ["DATASETS", "Dataset", "ImageSet", "data_root", "find", "load_images"]
