"""Spiking networks in torch and snnTorch."""
