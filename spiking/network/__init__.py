"""What a spiking network is, declared once for every simulator."""
