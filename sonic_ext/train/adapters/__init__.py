"""`sonic train adapters`: audio2token and the UNet's audio projections, trained further on given weights."""
