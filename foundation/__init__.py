"""Ground floor of ratespike: errors, files, seeds, configs, progress, figure style and datasets.

It knows neither the rate level (`ratenets`) nor the spiking level (`spiking`); both stand on it.
"""
