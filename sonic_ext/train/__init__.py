"""How the shipped networks are trained."""
