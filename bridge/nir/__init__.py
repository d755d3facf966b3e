"""NIR, the field's exchange format for spiking networks (Pedersen et al. 2024, doi:10.1038/s41467-024-52259-9)."""
