"""The network of Fig. 5 of Halvagal & Zenke 2023 (doi:10.1038/s41593-023-01460-y): a user of the library."""
