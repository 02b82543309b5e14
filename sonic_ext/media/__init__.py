"""Pictures, faces, sound and video."""
