"""Where untrusted functions run. docs/security.md says what is promised."""

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
