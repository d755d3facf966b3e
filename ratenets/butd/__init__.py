"""Bottom-up / top-down networks and Counter-Hebb learning (Abel & Ullman, arXiv 2306.02415)."""
