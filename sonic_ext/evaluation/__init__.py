"""How natural a talking head looks: figures of a video, beside those of people."""
