"""The networks of the sonic engine: torch modules, built without memory and filled without a second copy.

Only this room, `engines.sonic` and training import torch, diffusers and transformers.
"""
