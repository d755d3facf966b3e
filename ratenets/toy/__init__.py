"""The smaller experiments of Halvagal & Zenke 2023: what a single neuron learns from a sequence of inputs."""
