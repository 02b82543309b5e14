"""Files: written whole or not at all, hashed, locked; and the private home that keeps this package's own."""
