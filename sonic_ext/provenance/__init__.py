"""Consent, marks and the gate that every export passes."""
