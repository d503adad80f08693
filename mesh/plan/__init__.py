"""The plan of a mesh: models, the rules between them, and everything derived. Knows neither Pulumi nor Kubernetes."""

from mesh.plan.load import CONFIG_KEY, load_plan, read_plan
from mesh.plan.models import Cluster, MeshPlan, Network, Pool
from mesh.plan.problems import PlanError, Problem

__all__ = ["CONFIG_KEY", "Cluster", "MeshPlan", "Network", "PlanError", "Pool", "Problem", "load_plan", "read_plan"]
