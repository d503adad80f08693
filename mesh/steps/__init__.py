"""What pulumi-command runs: one process per step, a JSON spec on stdin, one JSON document on stdout.

`sh mesh/steps/run.sh <step>` with the project's root as current directory; the specs are in `mesh.steps.spec`. A step
knows subctl and Kubernetes and nothing of Pulumi. It can be run again from any point, and when it fails it exits with 1
and says in one sentence on stderr what failed and what to do.

Environment: `KUBECONFIG_<CLUSTER>` or `KUBECONFIG` (see `mesh.access`), `MESH_FORCE=1` (let a cluster leave, or a
broker go, in spite of what a step would refuse for) and `MESH_PYTHON` (see `run.sh`).
"""
