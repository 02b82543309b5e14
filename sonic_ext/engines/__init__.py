"""The engines: each turns a scene and speech into frames."""
