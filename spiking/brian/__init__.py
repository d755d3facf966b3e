"""Spiking models in Brian2: the readable definition of every rule, and the yardstick of the faster forms."""
