"""The sonic engine: a diffusion model moves the portrait to the speech.

Ji et al., "Sonic: Shifting Focus to Global Audio Perception in Portrait Animation", arXiv 2411.16331.
Built from published facts and numbers; the published weights load as they are.
"""
