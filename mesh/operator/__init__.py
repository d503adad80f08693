"""Manifests for the Pulumi Kubernetes Operator (v2), made from the plan and the stack files."""

from mesh.operator.manifests import Git, Settings, manifests, preparation

__all__ = ["Git", "Settings", "manifests", "preparation"]
