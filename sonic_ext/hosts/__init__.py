"""Where the package runs: standalone, A1111, Forge. The only room that imports a host."""
