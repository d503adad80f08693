"""One stack of the mesh: config -> plan -> MultiClusterMesh -> outputs.

Everything between clusters is in the plan (`mesh:plan` in Pulumi.yaml), which is checked before any resource or plugin
is touched. What is not managed here: the clusters themselves, their nodes' interfaces and routes, and the network
between the sites.
"""

import gc
import signal

import pulumi

from mesh.plan import PlanError, load_plan


def main() -> None:
    """Check the plan, then create what this stack owns of it."""
    config = pulumi.Config("mesh")
    try:
        plan = load_plan(config.require_object("plan"), "mesh:plan")
    except PlanError as error:
        raise pulumi.RunError(str(error)) from None

    # Only now: a bad plan is refused without waiting for the Kubernetes SDK to be imported.
    from components.mesh import MultiClusterMesh
    from components.stack import export, mesh_args

    args = mesh_args(config, plan)
    export(MultiClusterMesh("mesh", args), args)


# The engine ends a program that it gives up on with SIGINT; a traceback would bury the reason that it printed.
signal.signal(signal.SIGINT, signal.SIG_DFL)
# What is imported and declared here stays until the end: looking for garbage in it would take a fifth of the time.
gc.disable()
try:
    main()
finally:
    gc.freeze()
    gc.enable()
