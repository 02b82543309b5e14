"""How well mouth and voice agree."""
