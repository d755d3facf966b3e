"""The spiking level: the same plasticity in spiking networks, in Brian2 and in torch."""
