"""Untrusted functions, run where they can do no harm. See docs/security.md for what is promised."""

from autoif.sandbox.layers import Layer, probe
from autoif.sandbox.pool import Limits, Sandbox, Transformed

__all__ = ["Layer", "Limits", "Sandbox", "Transformed", "probe"]
