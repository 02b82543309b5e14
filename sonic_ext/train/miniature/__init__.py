"""`sonic train miniature`: Sonic's architecture at a size that two cores train, from pictures to weights."""
