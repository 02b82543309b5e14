"""Pictures, faces, sound and video: NumPy, Pillow, OpenCV and PyAV; never torch."""
