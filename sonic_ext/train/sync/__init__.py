"""Training of the networks that hear whether a mouth and a voice belong together: `sonic train sync`."""
