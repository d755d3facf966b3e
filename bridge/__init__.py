"""The bridge: weights, stimuli and plasticity between the rate level and the spiking level."""
