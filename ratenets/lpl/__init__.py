"""Latent Predictive Learning (Halvagal & Zenke 2023, doi:10.1038/s41593-023-01460-y)."""
