"""The networks of the sonic engine: torch modules, built without memory and filled without a second copy.

Only `nn`, `weights`, `engines.sonic`, `train` and `hosts` import torch, diffusers or transformers.
"""
