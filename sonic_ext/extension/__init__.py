"""The extension of a WebUI: brings page, API and script into a host."""
