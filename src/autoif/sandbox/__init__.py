"""Untrusted functions, run where they can do no harm. See docs/security.md for what is promised."""

from autoif.sandbox.layers import Layer, probe
from autoif.sandbox.pool import CHECK_LIMITS, REWARD_LIMITS, Limits, Sandbox, Transformed

__all__ = [
    "CHECK_LIMITS",
    "REWARD_LIMITS",
    "Layer",
    "Limits",
    "Sandbox",
    "Transformed",
    "probe",
]
